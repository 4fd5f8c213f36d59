"""Which images a step takes, and how they are shifted."""

import numpy as np
import pytest
import torch

from pipeline.classify.training.batches import LabelledBatches, Pool, concatenate, make_pool, target_batch
from pipeline.classify.training.optimizers import rate_schedule
from pipeline.config import TrainSettings
from pipeline.core.seeds import shuffled
from pipeline.data.image_sets import ImageSet

HALF = (0.5, 0.5, 0.5)


def images(count: int, label: int, size: int = 8) -> ImageSet:
    """`count` images, the first value of each its number."""
    pixels = np.random.default_rng(label).integers(0, 256, size=(count, size, size, 3), dtype=np.uint8)
    return ImageSet(pixels, np.full(count, label), [f"{label}-{i}" for i in range(count)])


def pool(count: int, label: int, shift: int = 0) -> Pool:
    return make_pool(images(count, label), 8, HALF, HALF, shift)


def test_every_round_holds_every_image_once_and_needs_no_history() -> None:
    whole = shuffled(10, 0, 40, seed=1)
    assert all(sorted(whole[start : start + 10]) == list(range(10)) for start in range(0, 40, 10))
    assert not np.array_equal(whole[:10], whole[10:20])
    pieces = [shuffled(10, start, start + 7, seed=1) for start in range(0, 35, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole[:35])
    assert len(shuffled(10, 4, 4, seed=1)) == 0
    assert len(shuffled(3, 0, 8, seed=1)) == 8  # a domain smaller than a batch


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
def test_made_fraction_holds_over_the_steps(fraction: float) -> None:
    labelled = LabelledBatches(pool(20, label=0), pool(7, label=1), fraction)
    made = []
    for step in range(40):
        batch, labels = labelled.batch(step, 9, seed=0)
        assert batch.shape == (9, 3, 8, 8)
        assert labels.shape == (9,)
        made.append(int(labels.sum()))
    assert abs(sum(made) - fraction * 40 * 9) <= 1
    assert max(made) - min(made) <= 1


def test_without_a_made_fraction_shares_are_those_of_the_pool() -> None:
    labelled = LabelledBatches(pool(20, label=0), pool(10, label=1), None)
    labels = torch.cat([labelled.batch(step, 6, seed=0)[1] for step in range(15)])  # three rounds
    assert labels.float().mean().item() == pytest.approx(1 / 3)


def test_batches_depend_on_the_seed_and_the_step_alone() -> None:
    labelled = LabelledBatches(pool(20, label=0, shift=2), pool(10, label=1, shift=2), 0.5)
    first, again, next_step, other_seed = (
        labelled.batch(step, 6, seed)[0] for step, seed in ((3, 0), (3, 0), (4, 0), (3, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, next_step)
    assert not torch.equal(first, other_seed)
    target = pool(9, label=0)
    assert torch.equal(target_batch(target, 2, 4, seed=0)[0], target_batch(target, 2, 4, seed=0)[0])


def test_images_are_normalised_and_shifted_by_whole_pixels_with_their_borders_repeated() -> None:
    source = images(30, label=0)
    made = make_pool(source, 8, (0.1, 0.5, 0.6), (0.5, 0.4, 0.3), shift=2)
    expected = (source.images / 255 - [0.1, 0.5, 0.6]) / [0.5, 0.4, 0.3]
    np.testing.assert_allclose(made.images().permute(0, 2, 3, 1), expected, atol=1e-5)

    padded = np.pad(expected, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    offsets = set()
    for index, image in enumerate(made.augmented(np.arange(30), seed=4).permute(0, 2, 3, 1).numpy()):
        fitting = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.allclose(padded[index, down : down + 8, right : right + 8], image, atol=1e-5)
        ]
        assert len(fitting) == 1
        offsets.update(fitting)
    assert len(offsets) > 10
    assert {down for down, _ in offsets} == {right for _, right in offsets} == set(range(5))


def test_images_of_another_size_are_resized() -> None:
    grey = ImageSet(np.full((2, 16, 16, 3), 128, np.uint8), None, ["a", "b"])
    resized = make_pool(grey, 8, HALF, HALF).images()
    assert resized.shape == (2, 3, 8, 8)
    torch.testing.assert_close(resized, torch.full_like(resized, (128 / 255 - 0.5) / 0.5))


def test_joined_sets_keep_their_labels_and_names() -> None:
    both = concatenate([images(2, 0), images(3, 1)])
    assert len(both) == 5
    assert both.labels.tolist() == [0, 0, 1, 1, 1]
    assert both.names[2] == "1-0"


def test_schedules() -> None:
    def factor(step: int, **settings: object) -> float:
        return rate_schedule(TrainSettings(backbone="digits_cnn", iterations=10, **settings), 10)(step)

    assert [factor(step, schedule="cosine") for step in (0, 5)] == [1.0, pytest.approx(0.5)]
    assert factor(1000, schedule="inverse") == pytest.approx(2**-0.75)
    assert factor(500, schedule="inverse", inverse_gamma=2e-3) == pytest.approx(2**-0.75)
    assert factor(7, schedule="constant") == 1.0
