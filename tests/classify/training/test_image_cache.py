"""The cache of resized images: what is decoded once, mended, or left out."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.image_files import ImageCache, image_files, read_resized
from tests.classify.training.photo_samples import IMAGE, SIDE, inputs, kept


def test_a_file_is_decoded_once(tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    list(inputs(tmp_path).evaluation(image_files(photos, None)).batches(4))
    assert [path.stat().st_size for path in kept(tmp_path)] == [IMAGE] * len(photos)
    monkeypatch.setattr("pipeline.data.image_files.read_resized", None)
    some = inputs(tmp_path).training(
        image_files(photos, None).take([3, 8])
    )  # a subset has no cache of its own
    assert some.augmented(np.array([0, 1]), seed=0).shape == (2, 3, 224, 224)


def test_a_changed_file_is_noticed(tmp_path: Path, photos: list[Path]) -> None:
    path, cache = tmp_path / "image.jpg", ImageCache(tmp_path / "cache", SIDE, 1e9)
    for source in photos[:3]:
        path.write_bytes(source.read_bytes())
        np.testing.assert_array_equal(cache(str(path)), read_resized(str(source), SIDE))
        assert len(kept(tmp_path / "cache")) == 1
    pixels = path.read_bytes()
    path.write_bytes(pixels[:-2] + b"\0\0")  # of the same size, but later
    about = path.stat()
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    inside = kept(tmp_path / "cache")[0]
    before = inside.read_bytes()
    cache(str(path))
    assert inside.read_bytes()[:24] != before[:24]


@pytest.mark.parametrize("damage", [b"", b"short"])
def test_a_damaged_cache_is_mended(tmp_path: Path, photos: list[Path], damage: bytes) -> None:
    cache = ImageCache(tmp_path, SIDE, 1e9)
    expected = cache(str(photos[0])).copy()
    kept(tmp_path)[0].write_bytes(damage)
    np.testing.assert_array_equal(cache(str(photos[0])), expected)
    assert kept(tmp_path)[0].stat().st_size == IMAGE


def test_a_full_cache_says_so_once_and_the_rest_is_decoded(tmp_path: Path, photos: list[Path]) -> None:
    cache = ImageCache(tmp_path, SIDE, 3 * IMAGE)
    with pytest.warns(UserWarning, match=r"image cache .* is full .*raise train\.cache_gib") as said:
        found = [cache(str(path)) for path in [*photos, *photos]]
    for path, image in zip([*photos, *photos], found, strict=True):
        np.testing.assert_array_equal(image, read_resized(str(path), SIDE))
    assert len(said) == 1
    assert len(kept(tmp_path)) == 3
    with pytest.warns(UserWarning, match="is full"):  # what others have put there counts too
        ImageCache(tmp_path, 64, 3 * IMAGE)(str(photos[0]))
    with warnings.catch_warnings(action="error"):
        ImageCache(tmp_path, SIDE, 3 * IMAGE)(str(photos[0]))


def test_a_cache_that_cannot_be_written_stops_no_training(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match=r"cannot be written .*TERRABENCH_CACHE") as said:
        batches = list(inputs(tmp_path / "file").evaluation(image_files(photos, None)).batches(5))
    assert len(said) == 1
    assert len(batches) == 2
