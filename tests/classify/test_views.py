"""Views: RandAugment against torchvision's, masks, and which images a step's views show."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment

from pipeline.classify.method import Method, Phase, View, masked, randaugment
from pipeline.classify.training.batches import LabelledBatches, make_pool
from pipeline.classify.training.draws import Draws, changed
from pipeline.classify.training.segments import segments
from pipeline.classify.training.transforms import Inputs
from pipeline.classify.views import MAGNITUDE, SIGNED, UNSIGNED
from pipeline.config import TrainSettings
from pipeline.data.image_sets import ImageSet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(count: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", SIGNED | UNSIGNED)
def test_each_operation_is_torchvisions(name: str, sign: int) -> None:
    """At bin 9 of 31, as its RandAugment applies it to an image; it computes strengths in float32."""
    theirs = RandAugment()
    height, width = 40, 30
    magnitudes, signed = theirs._AUGMENTATION_SPACE[name]
    strengths = magnitudes(31, height, width)
    strength = 0.0 if strengths is None else float(strengths[9])
    assert signed == (name in SIGNED)
    (image,) = noise(1, height, width)
    expected = theirs._apply_image_or_video_transform(
        image, name, sign * strength if signed else strength, InterpolationMode.NEAREST, {}
    )
    ours = (SIGNED | UNSIGNED)[name](image, MAGNITUDE * (sign if signed else 1))
    assert (ours.int() - expected.int()).abs().max() <= 1


def test_operations_are_torchvisions_all_and_are_drawn_alike() -> None:
    assert set(SIGNED | UNSIGNED) == set(RandAugment()._AUGMENTATION_SPACE)
    pixels = noise(6, 16, 16)
    assert torch.equal(randaugment(pixels, 3), randaugment(pixels, 3))
    assert not torch.equal(randaugment(pixels, 3), randaugment(pixels, 4))
    assert randaugment(pixels, 3).dtype == torch.uint8


def test_pixels_survive_normalisation() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    centre, spread = (255 * torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    normalised = (pixels.float() - centre) / spread
    seen = []

    def keep(given: Tensor, seed: int) -> Tensor:
        seen.append(given)
        return given

    assert torch.equal(changed(normalised, keep, 0, MEAN, STD), normalised)
    assert torch.equal(seen[0], pixels)


def test_masks_are_whole_blocks_of_the_mean_colour() -> None:
    torch.manual_seed(0)
    images = torch.rand(50, 3, 24, 32) + 1
    found = masked(images, 0.7, 8)
    kept = found != 0
    assert torch.equal(found[kept], images[kept])
    corners = kept[:, :1, ::8, ::8]
    whole = corners.repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(kept, whole.expand_as(kept))
    assert abs(corners.float().mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / corners.numel())
    assert torch.equal(masked(images, 0.0, 8), images)


def coloured(count: int, first: int) -> ImageSet:
    """Images of one colour each, so that a crop tells which image it is of."""
    colours = np.arange(first, first + count, dtype=np.uint8)
    images = np.broadcast_to(colours[:, None, None, None], (count, 32, 32, 3)).copy()
    return ImageSet(images, colours.astype(np.int64) % 3, [str(colour) for colour in colours])


def colours(images: Tensor) -> Tensor:
    """The colour of each image, and 255 - colour of an inverted one."""
    centre, spread = (255 * torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (images * spread + centre).round()[:, 0, 16, 16].long()


@pytest.mark.parametrize("crop", ["none", "random_resized"])
def test_indices_name_the_images_of_a_step_and_of_its_views(crop: str) -> None:
    given = TrainSettings(backbone="resnet18", iterations=9, crop=crop)
    make = Inputs(28, MEAN, STD, given).training if crop != "none" else _in_memory
    source, made, target = make(coloured(20, 0)), make(coloured(15, 20)), make(coloured(30, 100))
    views = [View("same", "labelled", None), View("dark", "target", lambda pixels, seed: 255 - pixels)]
    draws = Draws(LabelledBatches(source, made, 0.5), target, views, MEAN, STD, 8, 7)
    for step in range(9):
        images, labels, drawn = draws.draw(step, Phase())
        assert torch.equal(colours(images[:8]), drawn.indices)
        assert torch.equal(labels, drawn.indices % 3)
        assert torch.equal(colours(images[8:]), 100 + drawn.target_indices)
        assert torch.equal(colours(drawn.views["same"]), drawn.indices)
        assert torch.equal(colours(drawn.views["dark"]), 155 - drawn.target_indices)
    assert {int(index) for index in drawn.indices} != {int(index) for index in drawn.target_indices}


def _in_memory(images: ImageSet) -> object:
    return make_pool(images, 32, MEAN, STD, 2)


class Divided(Method):
    """A method whose phases a test sets."""

    parts: tuple[Phase, ...] = ()

    def phases(self) -> tuple[Phase, ...]:
        return self.parts


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=4), st.integers(200, 600)
)
def test_segments_cover_a_training_without_gaps(parts: list[tuple[int, int]], iterations: int) -> None:
    method, whole = Divided(2, 2), sum(weight for weight, _ in parts)
    method.parts = tuple(Phase(str(i), weight / whole, looks=n) for i, (weight, n) in enumerate(parts))
    found = segments(method, TrainSettings(backbone="digits_cnn", iterations=iterations))
    assert [part.start for part in found] == [0, *(part.stop for part in found[:-1])]
    assert found[-1].stop == iterations
    assert all(part.stop > part.start for part in found)
    for place, (weight, looks) in enumerate(parts):
        of_phase = [part for part in found if part.phase.name == str(place)]
        assert [part.number for part in of_phase] == list(range(max(1, looks)))
        steps = of_phase[-1].stop - of_phase[0].start
        assert abs(steps - iterations * weight / whole) <= 1
        assert {(part.phase_start, part.phase_stop) for part in of_phase} == {
            (of_phase[0].start, of_phase[-1].stop)
        }
