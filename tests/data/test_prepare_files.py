"""Preparing datasets of files: bad images are left out and named, good ones keep their content."""

import csv
import io
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pipeline.bench import data as bench
from pipeline.classify.training.dg_batches import split_domain
from pipeline.config import TrainSettings, read_card, resolve_card
from pipeline.core.errors import Remark, UserError
from pipeline.data import prepare
from pipeline.data.image_files import ByName, pixels, read_resized, read_square
from pipeline.data.image_sets import ImageFiles, load_labelled, load_unlabelled, load_whole
from pipeline.data.image_validation import MAX_PIXELS, fault, faults
from pipeline.data.sources.importer import import_folder
from pipeline.diffusion import base_model
from pipeline.diffusion.base_model import BaseModel
from pipeline.planning.kinds.prepare import PrepareParams
from tests.data.layout_samples import PACS, VISDA, office_home, picture, write_folders, write_pictures

pytestmark = [pytest.mark.usefixtures("data_root"), pytest.mark.filterwarnings("ignore::UserWarning")]


def quiet(*args: object) -> None:
    """Says nothing."""


def prepared(name: str, folder: Path, workspace: Path) -> Path:
    """The artifact of dataset `name`, imported from `folder`."""
    import_folder(read_card(name), folder, quiet)
    workspace.mkdir(exist_ok=True)
    prepare.run(PrepareParams(card=resolve_card(read_card(name))), {}, workspace, quiet)
    return workspace


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    """PACS with two images a class, as unpacked."""
    return write_folders(tmp_path / "pacs", read_card("pacs"), PACS)


# --- what comes of it


def test_office_home_is_read_as_it_is_on_the_disk(tmp_path: Path) -> None:
    artifact, card = (
        prepared("office_home", office_home(tmp_path / "mine"), tmp_path / "w"),
        read_card("office_home"),
    )
    for domain, folder in (("Ar", "Art"), ("Rw", "Real World")):
        train, test = (load_labelled(artifact, domain, split) for split in ("train", "test"))
        unlabelled = load_unlabelled(artifact, domain, "train")
        assert isinstance(train, ImageFiles)
        assert len(train) == 130
        assert unlabelled.labels is None
        assert (
            train.names == test.names == unlabelled.names
        )  # the target is trained on, without labels, and tested on
        for name, label, path in zip(train.names, train.labels, train.images, strict=True):
            assert card.classes[label] == name.split("/")[0]
            assert Path(path).resolve() == tmp_path / "mine" / folder / name
    np.testing.assert_array_equal(
        read_resized(train.images[0], 8),
        read_resized(str(tmp_path / "mine/Real World/Alarm_Clock/00001.jpg"), 8),
    )
    assert table(artifact / "report.csv") == []
    counts = table(artifact / "counts.csv")
    assert len(counts) == 4 * 65
    assert counts[0] == {
        "domain": "Ar",
        "class": "Alarm_Clock",
        "expected": "74",
        "found": "2",
        "left_out": "0",
    }


def test_visda_s_layout(tmp_path: Path) -> None:
    artifact = prepared(
        "visda2017", write_folders(tmp_path / "v", read_card("visda2017"), VISDA), tmp_path / "w"
    )
    for domain in ("S", "R"):
        assert load_labelled(artifact, domain, "train").labels.tolist() == [
            label for label in range(12) for _ in "ab"
        ]


def test_the_labels_of_a_target_are_never_opened(tmp_path: Path, pacs: Path) -> None:
    artifact = prepared("pacs", pacs, tmp_path / "w")
    (artifact / "S.labels.npy").write_bytes(b"garbage")
    assert len(load_unlabelled(artifact, "S", "train")) == 14
    with pytest.raises(UserError, match=r"domain S: S\.labels\.npy cannot be read"):
        load_labelled(artifact, "S", "train")


def test_no_image_is_held_out_and_trained_on(tmp_path: Path, pacs: Path) -> None:
    """Where every image is in both splits, a domain is still each image once."""
    artifact = prepared("pacs", pacs, tmp_path / "w")
    whole = load_whole(artifact, "A")
    assert len(whole) == len(set(whole.names)) == 14
    kept, held = split_domain(
        artifact, "A", TrainSettings(backbone="digits_cnn", iterations=1, holdout=0.2), seed=1
    )
    assert (len(kept), len(held)) == (11, 3)
    assert sorted(kept.names + held.names) == sorted(whole.names)


def test_nothing_of_the_product_depends_on_where_images_are(tmp_path: Path, pacs: Path) -> None:
    for name, content in (
        ("empty.jpg", b""),
        ("text.png", b"text"),
        ("it's cut.jpg", picture("jpg", 1)[:100]),
    ):
        (pacs / "photo" / "dog" / name).write_bytes(content)
    first = prepared("pacs", pacs, tmp_path / "w1")
    assert len(table(first / "report.csv")) == 3
    moved = tmp_path / "elsewhere" / "kfold"
    moved.parent.mkdir()
    pacs.rename(moved)
    second = prepared("pacs", moved.parent, tmp_path / "w2")
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_a_run_that_was_cut_off_goes_on_with_the_next_domain(tmp_path: Path, pacs: Path) -> None:
    whole = prepared("pacs", pacs, tmp_path / "whole")
    (pacs / "photo" / "dog" / "bad.jpg").write_bytes(b"x")
    whole = prepared("pacs", pacs, tmp_path / "whole2")
    card, cut = resolve_card(read_card("pacs")), tmp_path / "cut"
    cut.mkdir()

    class Killed(Exception):
        pass

    seen: list[tuple[int, str]] = []

    def until_cartoons(done: int, total: int, what: str) -> None:
        seen.append((done, what))
        if "pacs C" in what:
            raise Killed

    with pytest.raises(Killed):
        prepare.run(PrepareParams(card=card), {}, cut, until_cartoons)
    assert seen[-1][0] == 30
    assert (cut / "A.json").exists()
    assert not (cut / "C.json").exists()
    prepare.run(PrepareParams(card=card), {}, cut, quiet)
    for path in whole.iterdir():
        if path.is_file():
            assert path.read_bytes() == (cut / path.name).read_bytes()


def test_other_images_than_those_prepared_are_refused(tmp_path: Path, data_root: Path, pacs: Path) -> None:
    artifact, card = prepared("pacs", pacs, tmp_path / "w"), resolve_card(read_card("pacs"))
    write_pictures(pacs / "photo" / "dog", ["more.jpg"])
    import_folder(card, pacs, quiet)
    with pytest.raises(
        UserError, match=r"domain P: the images in .*pacs differ from those that .* run the suite again"
    ):
        load_labelled(artifact, "P", "train")
    with pytest.raises(UserError, match="pacs was imported again in the meantime; run the suite again"):
        prepare.run(PrepareParams(card=card), {}, tmp_path / "w", quiet)
    (data_root / "pacs" / "dataset.json").unlink()
    with pytest.raises(UserError, match=r"domain P: the images of pacs are not in .*TERRABENCH_DATA"):
        load_labelled(artifact, "P", "train")
    with pytest.raises(UserError, match="pacs is not in"):
        prepare.run(PrepareParams(card=card), {}, tmp_path / "w", quiet)


# --- bad images


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has so many pixels, and has them, black."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


GREY = Image.new("L", (6, 4), 200)
FRAMES = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
PNG = picture("png", 3)

GOOD = {
    "grey.jpg": (saved(GREY, "JPEG"), (200, 200, 200)),
    "cmyk.jpg": (saved(Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
    "deep.png": (saved(Image.fromarray(np.full((4, 6), 200 * 256 + 7, np.uint16)), "PNG"), (200, 200, 200)),
    "deep.tif": (saved(Image.fromarray(np.full((4, 6), 200 * 256 + 7, np.uint16)), "TIFF"), (200, 200, 200)),
    "palette.png": (saved(FRAMES[0].convert("P"), "PNG"), (255, 0, 0)),
    "palette_clear.png": (saved(FRAMES[0].convert("P"), "PNG", transparency=b"\0\x80"), (255, 0, 0)),
    "one_bit.png": (saved(Image.new("1", (6, 4), 1), "PNG"), (255, 255, 255)),
    "alpha.png": (saved(Image.new("RGBA", (6, 4), (255, 0, 0, 100)), "PNG"), (255, 0, 0)),
    "grey_alpha.png": (saved(Image.new("LA", (6, 4), (200, 9)), "PNG"), (200, 200, 200)),
    "animated.gif": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), (255, 0, 0)),
    "animated.png": (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), (255, 0, 0)),
    "one_pixel.png": (saved(Image.new("RGB", (1, 1), "red"), "PNG"), (255, 0, 0)),
    "long.png": (saved(Image.new("RGB", (20_000, 2), "red"), "PNG"), (255, 0, 0)),
    "has a space, quotes '\" and 部屋.png": (saved(FRAMES[0], "PNG"), (255, 0, 0)),
    "really_a_png.jpg": (saved(FRAMES[0], "PNG"), (255, 0, 0)),
}
BAD = {
    "empty.jpg": (b"", "cannot be read: cannot identify image file"),
    "text.jpg": (b"<html>not found</html>", "cannot be read: cannot identify image file"),
    "cut.jpg": (picture("jpg", 3)[:-200], "cannot be read: "),
    "cut.png": (PNG[: len(PNG) // 2], "cannot be read: "),
    "garbled.png": (PNG[:60] + bytes(20) + PNG[80:], "cannot be read: "),
    "large.png": (png_of(20_000, 20_000), "pixels"),
    "wide.png": (png_of(10_000, 6_000), "has 10000 x 6000 pixels, more than 50,000,000"),
    "floats.tif": (saved(Image.new("F", (6, 4), 0.5), "TIFF"), "has 32-bit values (mode F)"),
}


def test_odd_images_are_read_and_bad_ones_left_out_and_named(tmp_path: Path, pacs: Path) -> None:
    for name, (content, _) in (GOOD | BAD).items():
        (pacs / "photo" / "horse" / name).write_bytes(content)
    with pytest.warns(Remark) as said:
        artifact = prepared("pacs", pacs, tmp_path / "w")
    horses = read_card("pacs").classes.index("horse")
    photos = load_labelled(artifact, "P", "train")
    taken = {
        name.removeprefix("horse/")
        for name, label in zip(photos.names, photos.labels, strict=True)
        if label == horses
    }
    assert taken == {*GOOD, "00001.jpg", "00002.jpg"}
    report = {row["file"].removeprefix("horse/"): row for row in table(artifact / "report.csv")}
    assert set(report) == set(BAD)
    assert {row["domain"] for row in report.values()} == {"P"}
    for name, (_, reason) in BAD.items():
        assert reason in report[name]["reason"]
    counted = {row["class"]: row for row in table(artifact / "counts.csv") if row["domain"] == "P"}
    assert counted["horse"] | {"expected": ""} == {
        "domain": "P",
        "class": "horse",
        "expected": "",
        "found": str(2 + len(GOOD) + len(BAD)),
        "left_out": str(len(BAD)),
    }
    told = [str(warning.message) for warning in said]
    assert any(
        f"domain P: {len(BAD)} images are left out, for example horse/" in text and "report.csv" in text
        for text in told
    )
    assert any(
        "domain P: 37 images, but the card states 1,670" in text and "The run continues with these" in text
        for text in told
    )


@pytest.mark.parametrize("name", GOOD)
def test_what_prepare_lets_pass_is_read_in_its_colours(tmp_path: Path, name: str) -> None:
    """By both ways into trainings, for none may end in the middle for an image."""
    content, colour = GOOD[name]
    (tmp_path / name).write_bytes(content)
    for read in (read_resized, read_square):
        found = read(str(tmp_path / name), 16)
        assert found.shape == (16, 16, 3)
        np.testing.assert_allclose(found.reshape(-1, 3).astype(int), np.tile(colour, (256, 1)), atol=2)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_bytes_a_file_has_it_is_read_or_a_reason_is_given(tmp_path: Path, seed: int) -> None:
    """A corrupt image of any format is readable in trainings, or left out with a reason on one line."""
    random = np.random.default_rng(seed)
    name = list(GOOD)[seed % len(GOOD)]
    content = bytearray(GOOD[name][0])
    for place in random.integers(0, len(content), 4):
        content[place] = random.integers(256)
    path = tmp_path / f"x{Path(name).suffix}"
    path.write_bytes(content[: random.integers(len(content) // 2, len(content) + 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = fault(str(path))
        if reason is None:
            assert read_resized(str(path), 8).shape == read_square(str(path), 8).shape == (8, 8, 3)
        else:
            assert reason
            assert "\n" not in reason


def test_reasons_come_in_the_order_of_the_images(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, [f"{number}.jpg" for number in range(300)])
    for path in paths[::7]:
        path.write_bytes(b"")
    assert [reason is not None for reason in faults(map(str, paths))] == [
        number % 7 == 0 for number in range(300)
    ]
    assert fault(str(tmp_path / "gone.jpg")).startswith("cannot be read")
    assert MAX_PIXELS * 3 < 2**28  # so that a few threads stay below a GiB


def test_a_domain_without_a_usable_image_stops(tmp_path: Path, pacs: Path) -> None:
    for path in (pacs / "cartoon").rglob("*.jpg"):
        path.write_bytes(b"x")
    with pytest.raises(
        UserError,
        match=r"domain C of pacs: none of its 14 images can be used, for example dog/00001\.jpg, which",
    ):
        prepared("pacs", pacs, tmp_path / "w")


# --- stage one


def test_stages_one_and_two_see_the_middle_square(tmp_path: Path) -> None:
    """Shapes are kept: a circle in a wide picture stays a circle."""
    image = Image.new("RGB", (120, 60), "black")
    ImageDraw.Draw(image).ellipse((40, 10, 80, 50), fill="white")
    image.save(tmp_path / "circle.png")
    seen = read_square(str(tmp_path / "circle.png"), 60)[..., 0] > 127
    assert np.ptp(np.flatnonzero(seen.any(axis=0))) == pytest.approx(
        np.ptp(np.flatnonzero(seen.any(axis=1))), abs=1
    )


def test_a_base_model_encodes_files_as_it_encodes_their_pixels(
    tmp_path: Path, pacs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch by batch, so that no stage holds a dataset in memory."""
    monkeypatch.setattr(base_model, "VAE_BATCH", 5)
    files = load_unlabelled(prepared("pacs", pacs, tmp_path / "w"), "P", "train").images
    seen: list[int] = []

    class Autoencoder:
        config = type("Config", (), {"scaling_factor": 2.0})
        device, dtype = torch.device("cpu"), torch.float32

        def encode(self, images: torch.Tensor) -> object:
            seen.append(len(images))
            latents = type("Latents", (), {"mode": lambda self: images[:, :, ::8, ::8]})()
            return type("Encoded", (), {"latent_dist": latents})()

    model = BaseModel(
        type("Pipe", (), {"vae": Autoencoder()})(), torch.nn.Identity(), torch.ones(1), "epsilon", 32
    )
    assert torch.equal(model.encode(files), model.encode(pixels(files, 32)))
    assert seen[:3] == [5, 5, 4]
    assert pixels(files[:2], 24).shape == (2, 24, 24, 3)


def test_images_by_their_names_are_read_when_they_are_wanted(tmp_path: Path, pacs: Path) -> None:
    images = load_unlabelled(prepared("pacs", pacs, tmp_path / "w"), "P", "train")
    (pacs / "photo" / "dog" / "00002.jpg").unlink()
    by_name = ByName(images, 20)
    assert list(by_name) == images.names
    assert len(by_name) == 14
    np.testing.assert_array_equal(by_name["dog/00001.jpg"], read_square(images.images[0], 20))
    with pytest.raises(UserError, match="cannot be read as an image"):
        by_name["dog/00002.jpg"]


# --- memory


@pytest.mark.slow
def test_preparing_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extrapolated from the 10,000 images between two runs, 100,000 images need less than 1 GiB in all.

    A process needs 180 or 210 MiB before its first image. With fewer images between the two runs, that
    difference alone would exceed the bound.
    """
    few, many = (bench.measure(images, print)["prepare"]["mebibytes"] for images in (2500, 12500))
    assert many + (100_000 - 12_500) / 10_000 * max(0.0, many - few) < 1024
