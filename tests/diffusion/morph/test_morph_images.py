"""The command `morph`: what it writes, and what it refuses in one sentence before it begins."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from pipeline.cli import build_parser, main
from pipeline.cli.morph import METHODS
from pipeline.config import MorphMethod, MorphSettings
from pipeline.core.errors import UserError
from pipeline.diffusion.morph import morph_images
from pipeline.diffusion.morph.methods import make_method
from pipeline.diffusion.morph.output import new_folder, strip, write_morph

SAMPLES = Path(__file__).parents[2] / "data" / "upright_samples"
PROMPTS = ["--prompt-x", "a three", "--prompt-y", "a seven"]
LITTLE = ["--steps", "1", "--sampling-steps", "2", "--frames", "3", "--quiet"]


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, str]:
    """x and y of 32 px, one of 16, one wide, a grey one; and folders of two and of one."""
    rng = np.random.default_rng(0)
    for name, shape in {
        "x": (32, 32, 3),
        "y": (32, 32, 3),
        "small": (16, 16, 3),
        "small2": (16, 16, 3),
        "wide": (32, 64, 3),
        "wide2": (32, 64, 3),
        "grey": (32, 32),
    }.items():
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    for folder, count in (("many", 2), ("one", 1)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
                tmp_path / folder / f"{i}.png"
            )
    return {path.stem: str(path) for path in tmp_path.iterdir()}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `morph` says as it refuses, in one line."""
    assert main(["morph", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_the_defaults_are_those_of_suites() -> None:
    """The parser states them itself, so as to import nothing that takes time."""
    given = build_parser().parse_args(["morph", "x", "y", "-o", "out"])
    defaults = {
        "tune_steps": given.steps,
        "learning_rate": given.learning_rate,
        "rank": given.rank,
        "steps": given.sampling_steps,
        "seed": given.seed,
    }
    assert MorphSettings().model_dump() == MorphSettings(**defaults).model_dump()
    assert get_args(MorphMethod) == METHODS


def test_frames_strip_gif_and_what_was_done_are_written(
    tmp_path: Path, pictures: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    asked = [
        "morph",
        pictures["x"],
        pictures["y"],
        *PROMPTS,
        *LITTLE,
        "--method",
        "diffmorpher",
        "-o",
        str(out),
    ]
    assert main([*asked, "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about == json.loads((out / "about.json").read_text())
    assert about["method"] == "diffmorpher"
    assert about["settings"]["perceptual"] == "digits"
    assert about["places"][0] == 0
    assert about["places"][-1] == 1
    assert len(about["psnr"]) == 2
    assert about["resized_from"] is None
    assert {path.name for path in out.iterdir()} == {
        "frame_000.png",
        "frame_001.png",
        "frame_002.png",
        "strip.png",
        "morph.gif",
        "about.json",
    }
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # and nothing half-written beside it
    with Image.open(out / "morph.gif") as gif:
        assert gif.n_frames == 4
        assert gif.size == (128, 128)
    assert main(["metrics", str(out), "--distance", "pixels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["method"] == "diffmorpher"
    assert "exists already" in refused(capsys, *asked[1:])


def test_images_of_another_size_are_resized_which_is_said(
    tmp_path: Path, pictures: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["morph", pictures["small"], pictures["small2"], *PROMPTS, *LITTLE, "--method", "ddim"]
    assert main([*asked, "-o", str(tmp_path / "out")]) == 0
    assert "X and Y were resized from 16 and 16 to 32 pixels, the model's" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("x", "y", "more", "message"),
    [
        ("x", "y", ["--prompt-x", "a three"], "prompt-y is missing"),
        ("x", "y", ["--prompt-x", " ", "--prompt-y", "a"], "prompt-x is missing"),
        ("x", "small", PROMPTS, "small.png is 16x16, but x.png is 32x32; expected images of one size"),
        ("x", "grey", PROMPTS, "grey.png is of mode L, but x.png is RGB; expected images of one mode"),
        ("wide", "wide2", PROMPTS, "expected square ones"),
        ("x", "many", PROMPTS, "expected two images or two folders"),
        ("many", "one", PROMPTS, "one has 1 images; a style or a subject needs two or more"),
        ("x", "y", [*PROMPTS, "--distance", "alexa"], "there is no network 'alexa'"),
        ("x", "y", [*PROMPTS, "--base-model", "./nowhere"], "state its resolution"),
        ("x", "y", [*PROMPTS, "--learning-rate", "-1"], "greater than 0"),
    ],
)
def test_mistakes_are_one_sentence(
    x: str,
    y: str,
    more: list[str],
    message: str,
    tmp_path: Path,
    pictures: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    error = refused(
        capsys, pictures[x], pictures[y], *more, *LITTLE, "--method", "diffmorpher", "-o", str(out)
    )
    assert message in error
    assert not out.exists()


def test_a_missing_file_is_named(
    tmp_path: Path, pictures: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, pictures["x"], str(tmp_path / "none.png"), *PROMPTS, "-o", str(tmp_path / "out"))
    assert "there is no file or folder" in error


def test_ctrl_c_leaves_nothing(
    tmp_path: Path,
    pictures: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(folder: Path, *args: object) -> None:
        (folder / "frame_000.png").write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(morph_images, "write_morph", interrupted)
    before = set(tmp_path.iterdir())
    asked = [pictures["x"], pictures["y"], *PROMPTS, *LITTLE, "--method", "ddim", "-o", str(tmp_path / "out")]
    assert main(["morph", *asked]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_help_tells_every_method_and_answers_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["morph", "--help"])
    help_text = capsys.readouterr().out
    assert all(
        name in help_text
        for name in ("ddim", "lora_interp", "terra", "diffmorpher", "terra_diffmorpher", "strip.png")
    )


def test_an_error_within_a_new_folder_leaves_nothing(tmp_path: Path) -> None:
    def fail_halfway() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="exists already"), new_folder(tmp_path / "file"):
        pass


def test_a_strip_is_all_frames_in_a_row_and_large_frames_are_not_enlarged(tmp_path: Path) -> None:
    frames = np.stack([np.full((200, 200, 3), shade, np.uint8) for shade in (0, 100, 200)])
    row = np.asarray(strip([Image.fromarray(frame) for frame in frames]))
    assert row.shape == (200, 3 * 200 + 2 * 2, 3)
    assert (row[:, :200] == 0).all()
    assert (row[:, 202:402] == 100).all()
    assert (row[:, 404:] == 200).all()
    write_morph(tmp_path, frames, {"method": "none"})
    with Image.open(tmp_path / "frame_001.png") as image:
        assert np.array_equal(np.asarray(image), frames[1])


def test_a_notebook_gets_the_frames_that_the_command_writes(tmp_path: Path, pictures: dict[str, str]) -> None:
    out = tmp_path / "out"
    asked = ["morph", pictures["x"], pictures["y"], *PROMPTS, *LITTLE, "--method", "ddim", "-o", str(out)]
    assert main(asked) == 0
    options = morph_images.MorphOptions(
        Path(pictures["x"]),
        Path(pictures["y"]),
        "a three",
        "a seven",
        method="ddim",
        frames=3,
        settings=MorphSettings(tune_steps=1, steps=2, perceptual="digits"),
    )
    report = morph_images.morph_images(options)
    assert report.about == json.loads((out / "about.json").read_text())
    for index, frame in enumerate(report.frames):
        with Image.open(out / f"frame_{index:03d}.png") as image:
            assert np.array_equal(frame, np.asarray(image))


def test_a_photo_is_read_as_it_is_displayed() -> None:
    phone, upright = SAMPLES / "seven_phone.jpg", SAMPLES / "seven_upright.jpg"
    options = morph_images.MorphOptions(phone, upright, "a seven", "a seven")
    (x, y), sides = morph_images.read_endpoints(options)
    assert np.abs(x.images.astype(int) - y.images).mean() < 2, "both are JPEGs of one picture"
    assert sides == [96, 96]


def test_an_unknown_method_is_refused_with_those_that_exist() -> None:
    with pytest.raises(
        UserError, match=r"no morphing method 'terr'; there are: ddim, .*did you mean 'terra'"
    ):
        make_method("terr", MorphSettings())
