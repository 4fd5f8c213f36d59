"""Folders of frames, and the command that scores them: what is read, and what is refused in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli import main
from pipeline.core.errors import UserError
from pipeline.data.image_files import read_square
from pipeline.metrics.evaluate import Reference
from pipeline.metrics.frames import frame_files, read_image, read_sequences

SAMPLES = Path(__file__).parents[1] / "data" / "upright_samples"


def write(folder: Path, *names: str, size: int = 32, mode: str = "RGB", shade: int = 20) -> Path:
    """Images of even grey, each `shade` lighter than the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.new("L", (size, size), place * shade).convert(mode).save(folder / name)
    return folder


NAMES = [f"frame_{i:03d}.png" for i in range(4)]


def test_frames_are_taken_by_their_numbers_and_other_images_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "2.png", "10.png", "9.jpg", "11.png", "strip.png")
    (tmp_path / "2.png").rename(tmp_path / "8.png")
    assert [path.name for path in frame_files(tmp_path)] == ["8.png", "9.jpg", "10.png", "11.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["f_0.png", "f_1.png", "f_3.png"], "has no frame 2: f_1.png is followed by f_3.png"),
        (["f_1.png", "f_01.png"], "f_01.png and f_1.png have the same number"),
        (["a_0.png", "a_1.png", "b_2.png"], "frames called a_… and b_…"),
        (["f_0.png"], "has one frame"),
        (["strip.png"], "has no frames"),
    ],
)
def test_a_folder_that_is_not_one_sequence_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_sequences(write(tmp_path / "out", *names))


def test_frames_of_several_sizes_or_modes_are_refused(tmp_path: Path) -> None:
    write(write(tmp_path / "size", *NAMES), NAMES[2], size=16)
    with pytest.raises(UserError, match=r"frame_002.png is 16x16, but frame_000.png is 32x32"):
        read_sequences(tmp_path / "size")
    write(write(tmp_path / "mode", *NAMES), NAMES[1], mode="L")
    with pytest.raises(UserError, match=r"frame_001.png is of mode L, but frame_000.png is RGB"):
        read_sequences(tmp_path / "mode")
    write(tmp_path / "alpha", *NAMES, mode="RGBA")
    with pytest.raises(UserError, match=r"frame_000.png is of mode RGBA; expected RGB or L"):
        read_sequences(tmp_path / "alpha")
    (write(tmp_path / "broken", *NAMES) / NAMES[0]).write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"frame_000.png cannot be read as an image"):
        read_sequences(tmp_path / "broken")


def test_methods_are_told_by_about_json_or_the_folder(tmp_path: Path) -> None:
    made, others = write(tmp_path / "a", *NAMES), tmp_path / "others"
    (made / "about.json").write_text('{"method": "terra"}')
    write(others / "first", *NAMES)
    write(others / "second", *NAMES[:2])
    found = [*read_sequences(made), *read_sequences(others)]
    assert [(one.method, len(one.frames)) for one in found] == [("terra", 4), ("others", 4), ("others", 2)]
    (made / "about.json").write_text("{}")
    with pytest.raises(UserError, match="does not say by which method"):
        read_sequences(made)


def test_the_command_scores_by_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "slow", *NAMES, shade=10)
    write(tmp_path / "fast", *NAMES, shade=20)
    uneven = write(tmp_path / "uneven", *NAMES, shade=20)
    write(uneven, NAMES[0])
    Image.new("RGB", (32, 32), (20, 20, 20)).save(uneven / NAMES[2])
    folders = [str(tmp_path / name) for name in ("slow", "fast", "uneven")]
    assert main(["metrics", *folders, "--distance", "pixels", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["distance"] == "pixels"
    assert "features" not in answer
    slow, fast, uneven = answer["rows"]
    assert slow["PPL"] == pytest.approx(30 / 255)
    assert fast["PPL"] == pytest.approx(60 / 255)
    assert slow["PPL variation"] == pytest.approx(0)
    assert uneven["PPL variation"] > 0.5
    assert slow["FID"] is None
    assert main(["metrics", folders[0], "--distance", "pixels"]) == 0
    out = capsys.readouterr().out
    assert "slow" in out
    assert "PPL in pixels" in out
    assert "FID" not in out


def test_with_few_images_kid_stands_for_fid_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("few", 12), ("many", 140), ("reference", 140)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
                tmp_path / name / f"{i}.png"
            )
    command = [
        "metrics",
        str(tmp_path / "few"),
        str(tmp_path / "many"),
        "--reference",
        str(tmp_path / "reference"),
        "--features",
        "digits",
        "--distance",
        "pixels",
    ]
    assert main([*command, "--json"]) == 0
    few, many = (answer := json.loads(capsys.readouterr().out))["rows"]
    assert few["FID"] is None
    assert few["KID"] is not None
    assert many["FID"] > 0
    assert answer["notes"] == [
        "few: no FID, because the covariance of 128 features needs more than 128 images, "
        "and there are 12 frames and 140 reference images; KID needs no covariance"
    ]
    assert main(command) == 0
    assert answer["notes"][0] in capsys.readouterr().out


DIGITS = ["--features", "digits", "--distance", "pixels", "--json"]


def noise(folder: Path, *images: tuple[str, tuple[int, int], str]) -> Path:
    """Write images of random pixels, each with its name, width and height, and mode."""
    rng = np.random.default_rng(0)
    for name, (width, height), mode in images:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
    return folder


def scored(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[dict], list[str]]:
    """The rows and the notes of `metrics`."""
    assert main(["metrics", *arguments]) == 0
    answer = json.loads(capsys.readouterr().out)
    return answer["rows"], answer["notes"]


@pytest.mark.parametrize(
    ("images", "resized"),
    [
        ([(f"{i}.jpg", (32 + i, 32), "RGB") for i in range(6)], 5),
        ([(f"{i}.jpg", (32, 32), "L" if i == 3 else "RGB") for i in range(6)], 0),
        ([(f"{label}/{i}.jpg", (32, 32), "RGB") for label in "ab" for i in range(3)], 0),
        ([(f"{i}.png", (64, 64), "RGBA") for i in range(6)], 6),
    ],
    ids=["sizes", "grey", "class folders", "another size, with alpha"],
)
def test_the_reference_is_any_folder_of_pictures(
    images: list[tuple[str, tuple[int, int], str]],
    resized: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Office-Home's photos are accepted; a note counts resized ones, because that changes the score."""
    frames, reference = write(tmp_path / "f", *NAMES), noise(tmp_path / "r", *images)
    (row,), notes = scored(capsys, str(frames), *DIGITS, "--reference", str(reference))
    assert row["KID"] is not None
    assert notes[0].endswith("and there are 4 frames and 6 reference images; KID needs no covariance")
    beginning = (
        f"{resized} of 6 reference images are not 32x32, the size of the frames: their middle part is used"
    )
    assert [note.startswith(beginning) for note in notes[1:]] == [True] * bool(resized)


def test_a_resized_reference_is_read_as_base_models_read_images(tmp_path: Path) -> None:
    noise(tmp_path, ("wide.png", (96, 48), "RGB"), ("square.png", (32, 32), "RGB"))
    paths = np.array([str(tmp_path / "wide.png"), str(tmp_path / "square.png")], dtype=object)
    seen: list[np.ndarray] = []
    reference = Reference(paths, lambda images: seen.append(images) or np.zeros((len(images), 1)))
    assert reference.at((32, 32)).shape == (2, 1)
    for image, path in zip(seen[0], paths, strict=True):
        assert np.array_equal(image, read_square(path, 32))
    reference.at((32, 32))
    assert len(seen) == 1, "features are computed once"
    assert reference.resized == {(32, 32): 1}


def test_methods_whose_frames_differ_in_size_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(write(tmp_path / f"of{size}", *NAMES, size=size)) for size in (32, 64, 32)]
    rows, notes = scored(capsys, *folders[:2], "--distance", "pixels", "--json")
    assert len(rows) == 2
    assert notes == [
        "frames differ in size, and scores of frames of different sizes do not compare: "
        "32x32 (of32), 64x64 (of64)"
    ]
    assert scored(capsys, folders[0], folders[2], "--distance", "pixels", "--json")[1] == []


def test_one_method_with_frames_of_two_sizes_has_no_fid_or_kid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in (32, 64):
        write(tmp_path / "f" / str(size), *NAMES, size=size)
    reference = noise(tmp_path / "r", *[(f"{i}.png", (32, 32), "RGB") for i in range(4)])
    (row,), notes = scored(capsys, str(tmp_path / "f"), *DIGITS, "--reference", str(reference))
    assert row["KID"] is None
    assert notes[1] == "f: no FID and no KID, because its frames differ in size"


def test_a_reference_that_is_missing_or_too_small_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["metrics", str(write(tmp_path / "f", *NAMES)), *DIGITS, "--reference"]
    assert main([*command, str(write(tmp_path / "one", "0.png"))]) == 2
    assert "has 1 images; expected two or more" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["metrics", str(tmp_path / "nowhere"), "--distance", "pixels"]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_photo_is_read_as_it_is_displayed() -> None:
    phone, upright = (read_image(SAMPLES / f"seven_{name}.jpg")[0] for name in ("phone", "upright"))
    assert np.abs(phone.astype(int) - upright).mean() < 2, "both are JPEGs of one picture"
