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
from pipeline.classify.training.boxes import random_boxes
from pipeline.classify.training.resampling import resized_crop
from pipeline.classify.training.transforms import Augmentation, CropPool
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


@pytest.mark.parametrize("name", bench.RECIPES)
def test_training_images_are_those_of_torchvision(tmp_path: Path, photos: list[Path], name: str) -> None:
    recipe = bench.RECIPES[name]
    pool = inputs(tmp_path, **recipe.settings).training(image_files(photos, None))
    assert bench.pixel_difference(pool, photos, recipe.squares) < 1e-3


def test_crops_of_any_shape_are_resized_as_pillow_does() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for _ in range(30):
        height, width = rng.integers(1, [301, 401])
        top, left = rng.integers(0, [301 - height, 401 - width])
        size = int(rng.choice([24, 224, 350]))
        crop = Image.fromarray(picture[top : top + height, left : left + width])
        by_width = crop.resize((size, int(height)), Image.Resampling.BILINEAR)
        expected = by_width.resize((size, size), Image.Resampling.BILINEAR)
        found = resized_crop(picture, (top, left, height, width), size)
        np.testing.assert_array_equal(found, np.asarray(expected))
        at_once = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(found - at_once).max() <= 1  # Pillow 13 may begin with the height


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


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (427, 640), (500, 120)])
def test_boxes_are_distributed_as_those_of_torchvision(shape: tuple[int, int]) -> None:
    """The last shape is so narrow that often no box fits, and the largest in the middle is taken."""
    count, blank, (high, wide) = 2000, torch.empty(3, *shape), shape
    for scale in (0.08, 0.7):
        torch.manual_seed(0)
        theirs = np.array(
            [
                transforms.RandomResizedCrop.get_params(blank, [scale, 1.0], [3 / 4, 4 / 3])
                for _ in range(count)
            ]
        )
        ours = random_boxes(np.tile(shape, (count, 1)), scale, np.random.default_rng(0))
        assert (ours[:, 2:] > 0).all()
        assert (ours[:, :2] >= 0).all()
        assert (ours[:, :2] + ours[:, 2:] <= shape).all()
        for number in (
            lambda box: box[:, 0],
            lambda box: box[:, 1],
            lambda box: box[:, 2],
            lambda box: box[:, 3],
            lambda box: box[:, 2] * box[:, 3],
            lambda box: box[:, 3] / box[:, 2],
            lambda box: box[:, 0] / np.maximum(1, high - box[:, 2]),
            lambda box: box[:, 1] / np.maximum(1, wide - box[:, 3]),
        ):
            assert ks_2samp(number(ours), number(theirs)).pvalue > 1e-3


def test_the_aspect_ratio_of_a_crop_is_that_of_its_file_and_not_of_a_square(
    tmp_path: Path, photos: list[Path]
) -> None:
    """A crop of 640 x 427 is 0.75 to 1.33 as wide as high; one of it as a square would be up to twice."""
    images = np.zeros((1, 427, 640, 3), np.uint8)
    for crop_from, shape in (("square", (SIDE, SIDE, 3)), ("original", (427, 640, 3))):
        pool = inputs(tmp_path, crop_from=crop_from).training(ImageSet(images, None, ["wide"]))
        assert isinstance(pool, CropPool)
        assert pool.cut(0).shape == shape
        boxes = pool.draw(np.array([shape[:2]] * 500), seed=0).boxes
        ratios = boxes[:, 3] / boxes[:, 2]
        assert 0.7 < ratios.min() < 0.8
        assert 1.25 < ratios.max() < 1.4


def test_with_crops_of_originals_an_evaluation_sees_the_whole_image(
    tmp_path: Path, photos: list[Path]
) -> None:
    (found,) = inputs(tmp_path, crop_from="original").evaluation(image_files(photos, None)).batches(10)
    expected = np.stack([read_resized(str(path), 224) for path in photos])
    np.testing.assert_allclose(pixels(found), expected, atol=1e-3)


def test_half_of_the_images_are_mirrored_if_the_suite_says_so(tmp_path: Path, photos: list[Path]) -> None:
    shapes = np.full((2000, 2), SIDE)
    mirrored = [
        inputs(tmp_path, flip=flip).training(image_files(photos, None)).draw(shapes, seed=1).flips
        for flip in (True, False)
    ]
    assert mirrored[0].mean() == pytest.approx(0.5, abs=0.05)
    assert not mirrored[1].any()
    pool = inputs(tmp_path).training(image_files(photos, None))
    box, image = np.array([[10, 20, 150, 120]]), [pool.cut(2)]
    plain, other = (pool.changed(image, Augmentation(box, np.array([flip]))) for flip in (False, True))
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
        return torch.cat([images, target_batch(target, step, 4, seed=5)[0]])

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
    for setting in ({"colour_jitter": 0.3}, {"grey": 0.1}, {"resample": "bicubic"}):
        with pytest.raises(ValueError, match="goes with a crop: centre or random_resized"):
            inputs(tmp_path, crop="none", flip=False, **setting)
    with pytest.raises(ValueError, match="crop_from: original goes with crop: random_resized, not centre"):
        inputs(tmp_path, crop="centre", crop_from="original")
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
    for name in bench.RECIPES:
        assert measured[name]["difference"] < 1e-3
        assert measured[name]["ratio"] > 0
    assert measured["loop"]["bare_milliseconds"] > 0
    lines = bench.described(measured).splitlines()
    assert [line.split()[0] for line in lines] == ["loop", "uda", "dg"]
    assert len(said) > 3
