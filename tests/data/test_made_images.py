"""Reading images that stage two made."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.made_images import MANIFEST_COLUMNS, load_generated, read_manifest

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def artifact(tmp_path):
    """Three images: one adapted, one from noise, one of the base model, which has no t."""
    (tmp_path / "images").mkdir()
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"images/{i:06d}.png")
    rows = [
        ("images/000000.png", 2, "two", 2**62 + 1, 1.0, "A two", "MN-0007"),
        ("images/000001.png", 0, "zero", 5, 1.0, "A zero, with a comma", ""),
        ("images/000002.png", 9, "nine", 6, None, "nan", ""),
    ]
    pd.DataFrame(rows, columns=MANIFEST_COLUMNS).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def test_images_come_with_the_labels_of_the_manifest(artifact):
    found = load_generated(artifact)
    np.testing.assert_array_equal(found.images, IMAGES)
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [2, 0, 9]
    assert found.names == [f"images/00000{i}.png" for i in range(3)]


def test_manifest_keeps_every_value(artifact):
    table = read_manifest(artifact)
    assert table["seed"].tolist() == [2**62 + 1, 5, 6]
    assert table["source"].tolist() == ["MN-0007", "", ""]
    assert table["prompt"].tolist() == ["A two", "A zero, with a comma", "nan"]
    assert table["t"].tolist() == ["1.0", "1.0", ""]


def test_missing_or_broken_image_is_named(artifact):
    file = artifact / "images/000001.png"
    whole = file.read_bytes()
    for broken in (None, b"", whole[:20], whole[:60], b"not a picture"):
        file.unlink()
        if broken is not None:
            file.write_bytes(broken)
        with pytest.raises(UserError, match=r"images/000001\.png cannot be read.*makes it again"):
            load_generated(artifact)
        file.touch()


def test_images_of_several_sizes_are_refused(artifact):
    Image.fromarray(IMAGES[0][:4]).save(artifact / "images/000002.png")
    with pytest.raises(
        UserError,
        match=r"the size of .*images/000002\.png differs from that of images/000000\.png; if .*save_size",
    ):
        load_generated(artifact)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("", "cannot be read"),
        ("file,label\nimages/000000.png,1\n", "lacks the columns class, seed, t, prompt, source"),
        (",".join(MANIFEST_COLUMNS) + "\n", "lists no image"),
        (",".join(MANIFEST_COLUMNS) + "\nimages/000000.png,three,three,0,1.0,A three,\n", "cannot be read"),
    ],
)
def test_broken_manifest_is_refused(artifact, text, told):
    (artifact / "manifest.csv").unlink()
    if text is not None:
        (artifact / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match=f"manifest.csv {told}"):
        load_generated(artifact)
