"""The way of images from files into training: their crops and flips, which the seed alone decides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision import transforms

from pipeline.bench import classify as bench
from pipeline.classify.training.batches import LabelledBatches, concatenate, target_batch
from pipeline.classify.training.transforms import CropPool, random_boxes
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError
from pipeline.core.prefetch import prefetch
from pipeline.core.reproducibility import reproducible
from pipeline.data.image_files import ImageCache, ImageFiles, image_files, read_resized
from pipeline.data.image_sets import ImageSet
from tests.classify.training.photo_samples import SIDE, inputs, kept, labelled_files, pixels

# --------------------------------------------------------------------------------------------- what is seen


def test_cached_images_are_those_of_torchvision(tmp_path: Path, photos: list[Path]) -> None:
    cache, resize = ImageCache(tmp_path, SIDE, 1e9), transforms.Resize((SIDE, SIDE))
    for path in photos:
        expected = np.asarray(resize(Image.open(path).convert("RGB")))
        for _ in range(2):  # decoded, then from the cache
            np.testing.assert_array_equal(cache(str(path)), expected)


def test_crops_agree_with_those_of_torchvision(tmp_path: Path, photos: list[Path]) -> None:
    pool = inputs(tmp_path).training(image_files(photos, None))
    assert bench.pixel_difference(pool, photos) < 2
    whole = np.tile([0, 0, SIDE, SIDE], (len(photos), 1))  # the crop that has to be reduced most
    found = pixels(pool.cropped(np.arange(len(photos)), whole, np.zeros(len(photos), dtype=bool)))
    for path, image in zip(photos, found, strict=True):
        expected = Image.fromarray(read_resized(str(path), SIDE)).resize(
            (224, 224), Image.Resampling.BILINEAR
        )
        assert np.abs(image - np.asarray(expected)).mean() < 2


def test_an_evaluation_sees_the_centre_as_torchvision_has_it(tmp_path: Path, photos: list[Path]) -> None:
    recipe = transforms.Compose(
        [
            transforms.Resize((SIDE, SIDE)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(bench.MEAN, bench.STD),
        ]
    )
    expected = torch.stack([recipe(Image.open(path).convert("RGB")) for path in photos])
    for crop in ("random_resized", "centre"):
        found = list(inputs(tmp_path, crop=crop).evaluation(image_files(photos, None)).batches(4))
        assert [len(part) for part in found] == [4, 4, 2]
        torch.testing.assert_close(torch.cat(found), expected, atol=1e-5, rtol=0)


def test_without_a_crop_all_of_a_file_is_seen(tmp_path: Path, photos: list[Path]) -> None:
    pool = inputs(tmp_path, crop="none", flip=False).training(image_files(photos, None))
    expected = np.stack([read_resized(str(path), 224) for path in photos])
    np.testing.assert_allclose(pixels(pool.augmented(np.arange(10), seed=3)), expected, atol=1e-3)


def test_boxes_are_distributed_as_those_of_torchvision() -> None:
    count, blank = 2000, torch.empty(3, SIDE, SIDE)
    for scale in (0.08, 0.7):
        torch.manual_seed(0)
        theirs = np.array(
            [
                transforms.RandomResizedCrop.get_params(blank, [scale, 1.0], [3 / 4, 4 / 3])
                for _ in range(count)
            ]
        )
        ours = random_boxes(count, SIDE, scale, np.random.default_rng(0))
        assert (ours[:, 2:] > 0).all()
        assert (ours[:, :2] >= 0).all()
        assert (ours[:, :2] + ours[:, 2:] <= SIDE).all()
        for number in (
            lambda box: box[:, 0],
            lambda box: box[:, 1],
            lambda box: box[:, 2],
            lambda box: box[:, 3],
            lambda box: box[:, 2] * box[:, 3],
            lambda box: box[:, 3] / box[:, 2],
            lambda box: box[:, 0] / np.maximum(1, SIDE - box[:, 2]),
        ):
            assert ks_2samp(number(ours), number(theirs)).pvalue > 1e-3


def test_half_of_the_images_are_mirrored_if_the_suite_says_so(tmp_path: Path, photos: list[Path]) -> None:
    mirrored = [
        inputs(tmp_path, flip=flip).training(image_files(photos, None)).draw(2000, seed=1)[1]
        for flip in (True, False)
    ]
    assert mirrored[0].mean() == pytest.approx(0.5, abs=0.05)
    assert not mirrored[1].any()
    pool = inputs(tmp_path).training(image_files(photos, None))
    box = np.array([[10, 20, 150, 120]])
    plain, other = (pool.cropped(np.array([2]), box, np.array([flip])) for flip in (False, True))
    assert torch.equal(plain.flip(3), other)


def save(path: Path, mode: str, **options: Any) -> Path:
    """A picture with an edge, in a mode of Pillow."""
    grey = np.full((40, 60), 50, np.uint8)
    grey[:20] = 200
    Image.fromarray(grey).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "grey.jpg"),
        ("CMYK", "cmyk.jpg"),
        ("RGBA", "alpha.png"),
        ("LA", "grey_alpha.png"),
        ("P", "palette.png"),
    ],
)
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str, name: str) -> None:
    found = read_resized(str(save(tmp_path / name, mode)), 32)
    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[:14].astype(int), 200, atol=3)
    np.testing.assert_allclose(found[18:].astype(int), 50, atol=3)


def test_grey_of_16_bits_keeps_its_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 200 * 256 + 7, np.uint16)).save(tmp_path / "deep.png")
    assert (read_resized(str(tmp_path / "deep.png"), 4) == 200).all()


def test_the_orientation_of_exif_is_not_applied_as_in_the_published_numbers(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned, plain = save(tmp_path / "turned.jpg", "L", exif=exif), save(tmp_path / "plain.jpg", "L")
    np.testing.assert_array_equal(read_resized(str(turned), 32), read_resized(str(plain), 32))


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_a_broken_file_is_named_in_one_sentence(tmp_path: Path, photos: list[Path], content: Any) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(photos[0].read_bytes()[:5000] if content == "cut" else content)
    for workers in (0, 2):
        pool = inputs(tmp_path, workers=workers).training(image_files([photos[0], path], None))
        with pytest.raises(
            UserError, match=r"broken\.jpg cannot be read as an image \(.*\); repair it"
        ) as raised:
            list(pool.batches(1))
        assert "\n" not in str(raised.value)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg cannot be read as an image \(No such file"):
        ImageCache(tmp_path, SIDE, 1e9)(str(tmp_path / "gone.jpg"))


# ------------------------------------------------------------------------------- what the seed alone decides


def all_batches(
    folder: Path, photos: list[Path], steps: range, workers: int, **settings: Any
) -> list[torch.Tensor]:
    """What a training sees in `steps`: labelled images, half of them made ones, and target images."""
    made = inputs(folder, workers=workers, **settings).training
    labelled = LabelledBatches(made(labelled_files(photos[:6])), made(labelled_files(photos[6:])), 0.5)
    target = made(image_files(photos, None))

    def batch(step: int) -> torch.Tensor:
        images, labels = labelled.batch(step, 4, seed=5)
        assert labels.shape == (4,)
        return torch.cat([images, target_batch(target, step, 4, seed=5)])

    return list(prefetch(batch, steps, workers))


def test_nothing_but_the_seed_and_the_step_decides_what_is_seen(tmp_path: Path, photos: list[Path]) -> None:
    """Bit for bit: with any number of workers, from any step, from a full cache and from none."""
    whole = all_batches(tmp_path / "a", photos, range(6), workers=0)
    assert whole[0].shape == (8, 3, 224, 224)
    assert not torch.equal(whole[0], whole[1])
    others = {
        "one worker": all_batches(tmp_path / "b", photos, range(6), workers=1),
        "two workers": all_batches(tmp_path / "c", photos, range(6), workers=2),
        "a full cache": all_batches(tmp_path / "a", photos, range(6), workers=2),
    }
    with pytest.warns(UserWarning, match="is full"):
        others["no cache"] = all_batches(tmp_path / "d", photos, range(6), workers=2, cache_gib=0)
    for what, batches in others.items():
        assert all(map(torch.equal, batches, whole)), what
    resumed = all_batches(tmp_path / "a", photos, range(4, 6), workers=1)
    assert all(map(torch.equal, resumed, whole[4:]))


# ---------------------------------------------------------------------------------------- sets and settings


def test_images_in_memory_are_cropped_too(tmp_path: Path, photos: list[Path]) -> None:
    arrays = np.stack([read_resized(str(path), 300) for path in photos])
    pool = inputs(tmp_path).training(ImageSet(arrays, None, [path.name for path in photos]))
    assert isinstance(pool, CropPool)
    assert pool.augmented(np.array([4, 4]), seed=0).shape == (2, 3, 224, 224)
    assert not kept(tmp_path)


def test_sets_of_files_are_joined_and_divided(photos: list[Path]) -> None:
    both = concatenate([labelled_files(photos[:4]), labelled_files(photos[4:])])
    assert isinstance(both, ImageFiles)
    assert both.names == [str(path) for path in photos]
    assert both.take([5, 0]).images.tolist() == [str(photos[5]), str(photos[0])]
    assert both.take([5, 0]).labels.tolist() == [1, 0]


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, photos: list[Path]) -> None:
    with pytest.raises(ValueError, match="flip goes with a crop"):
        inputs(tmp_path, crop="none")
    with pytest.raises(ValueError, match="augment_shift goes with crop: none, not centre"):
        inputs(tmp_path, crop="centre", augment_shift=2)
    with pytest.raises(UserError, match="augment_shift is for images in memory"):
        inputs(tmp_path, crop="none", flip=False, augment_shift=2).training(image_files(photos, None))


def test_workers_and_the_cache_are_no_part_of_what_a_training_is() -> None:
    plain, other = (
        TrainSettings(backbone="resnet50", iterations=1, workers=workers, cache_gib=gib)
        for workers, gib in ((0, 8), (4, 100))
    )
    assert plain.model_dump() == other.model_dump()
    assert other.workers == 4


# ------------------------------------------------------------------------------------------------ the bench


def test_the_bench_compares_like_with_like(tmp_path: Path) -> None:
    """Small, so that its ratios say nothing; that both loops end with the same weights it checks itself."""
    said: list[str] = []
    short = bench.LOOP.model_copy(update={"iterations": 4, "checkpoint_every": 2})
    with reproducible(threads=1):
        loop = bench.compare_loops(tmp_path, short, turns=1, log=said.append)
        measured = {"loop": loop} | bench.compare_inputs(tmp_path, 1, photos=40, turns=1, log=said.append)
    assert measured["pixels"]["difference"] < 2
    assert measured["inputs"]["ratio"] > 0
    assert measured["loop"]["bare_milliseconds"] > 0
    lines = bench.described(measured).splitlines()
    assert [line.split()[0] for line in lines] == ["loop", "inputs", "pixels"]
    assert len(said) > 3
