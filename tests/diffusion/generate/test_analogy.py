"""The command `analogy`: what it writes, what it says, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.cli import main
from pipeline.config import MINI, AdapterSpec, AnalogySpec, BaseModelSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.generate import analogy

SAMPLES = Path(__file__).parents[2] / "data" / "upright_samples"
SPEC = AdapterSpec(type="lorweb", rank=1, alpha=1.0, analogy=AnalogySpec(basis=2, key_width=4, examples=2))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRWeB of mini that has learned something."""
    pipe = DiffusionPipeline.from_pretrained(MINI, use_safetensors=True)
    made = make_adapter(pipe.unet, SPEC, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    path = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    made.save(path)
    return path


def picture(path: Path, size: tuple[int, int] = (32, 32), mode: str = "RGB", seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def arguments(folder: Path, adapter: Path, *more: str) -> list[str]:
    named = {"--a": "a.png", "--a-prime": "a2.png", "--b": "b.png"}
    given = [
        part
        for seed, (flag, file) in enumerate(named.items())
        for part in (flag, str(picture(folder / file, seed=seed)))
    ]
    return [
        "analogy",
        *given,
        "--adapter",
        str(adapter),
        "-o",
        str(folder / "out.png"),
        "--steps",
        "2",
        *more,
    ]


def test_it_writes_the_image_a_strip_and_the_lora_of_the_analogy(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strip, lora = tmp_path / "strip.png", tmp_path / "lora.safetensors"
    more = ("--strip", str(strip), "--lora", str(lora), "--json", "--guidance", "2", "--content-scale", "0.5")
    assert main(arguments(tmp_path, adapter, *more)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "out": str(tmp_path / "out.png"),
        "strip": str(strip),
        "lora": str(lora),
        "converted": [],
    }
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (32, 32)
        out = np.asarray(image)
    shown = np.asarray(Image.open(strip))
    assert shown.shape[1] == 2 * 128
    assert np.array_equal(shown[-128::4, 128::4], out), "the last quarter is what was made"
    pipe = DiffusionPipeline.from_pretrained(MINI, use_safetensors=True)
    pipe.load_lora_weights(str(lora))
    first = (tmp_path / "out.png").read_bytes()
    assert main(arguments(tmp_path, adapter, *more)) == 0
    assert (tmp_path / "out.png").read_bytes() == first


def test_other_sizes_and_modes_are_converted_and_it_is_said_how(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(tmp_path, adapter)
    picture(tmp_path / "b.png", (80, 40), "L")
    assert main(given) == 0
    assert "b.png is L of 80x40: its middle square is used, as RGB of 32x32" in capsys.readouterr().err
    options = analogy.AnalogyOptions(
        [tmp_path / "a.png"], [tmp_path / "a2.png"], tmp_path / "b.png", str(adapter)
    )
    images, _ = analogy.read_images(options, 1, 32)
    with Image.open(tmp_path / "b.png") as image:
        square = image.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS, box=(20, 0, 60, 40))
    assert np.abs(images.b[0].astype(int) - np.asarray(square)).max() <= 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--a", "a.png"), "2 images a and 1 images a-prime were given"),
        (
            ("--a", "a.png", "--a", "a.png", "--a-prime", "b.png", "--a-prime", "b.png"),
            "3 examples.*takes at most 2",
        ),
        (("-o", "out.jpg"), "ends in .png"),
        (("--lora", "lora.bin"), "ends in .safetensors"),
        (("--b", "nowhere.png"), "nowhere.png cannot be read as an image"),
        (("--adapter", "0123456789"), "no such file or folder, and no finished fine-tuning of that key"),
        (("--steps", "0"), "expected at least 1"),
        (("--scale", "nan"), "scale is nan; expected a finite number"),
        (("--resolution", "64"), "--resolution belongs to --base-model"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    tmp_path: Path,
    adapter: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERRABENCH_STORE", str(tmp_path / "store"))
    assert main(arguments(tmp_path, adapter, *more)) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out.png").exists()


@pytest.fixture(scope="module")
def grid_adapter(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, trained in context."""
    tensors, about = load_file(adapter), json.loads(safe_open(adapter, "pt").metadata()["lorweb"])
    about["analogy"]["context"] = "grid"
    path = tmp_path_factory.mktemp("grid_adapter") / "adapter.safetensors"
    save_file(tensors, path, {"lorweb": json.dumps(about)})
    return path


def test_in_a_grid_the_image_is_painted_from_the_noise_of_a_seed(
    tmp_path: Path, adapter: Path, grid_adapter: Path
) -> None:
    made = []
    for path, more in (
        (adapter, ()),
        (grid_adapter, ()),
        (grid_adapter, ("--seed", "0")),
        (grid_adapter, ("--seed", "1")),
    ):
        assert main(arguments(tmp_path, path, *more)) == 0
        made.append((tmp_path / "out.png").read_bytes())
    assert made[1] == made[2], "the default seed is 0"
    assert len(set(made)) == 3


def test_an_option_of_the_other_context_is_refused(
    tmp_path: Path, adapter: Path, grid_adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, adapter, "--seed", "1")) == 2
    assert "seed applies to an adapter whose analogy.context is grid" in capsys.readouterr().err
    assert main(arguments(tmp_path, grid_adapter, "--statistics", "own")) == 2
    assert "statistics applies to an adapter whose analogy.context is inversion" in capsys.readouterr().err


def test_an_adapter_that_takes_no_analogies_is_refused_by_its_type(tmp_path: Path) -> None:
    make_adapter(nn.Sequential(nn.Linear(3, 3)), AdapterSpec(rank=1), 0).save(
        tmp_path / "adapter.safetensors"
    )
    with pytest.raises(UserError, match="holds a terra, which takes no analogies"):
        analogy.find_adapter(str(tmp_path), tmp_path)


def test_the_base_model_is_the_one_that_the_artifact_says(tmp_path: Path) -> None:
    manifest = {"params": {"base_model": {"name": "/models/sd", "resolution": 512}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    file = tmp_path / "adapter.safetensors"
    assert analogy.default_base_model(file).resolution == 512
    assert analogy.default_base_model(tmp_path / "else" / "a.safetensors").name == "mini"


def test_a_notebook_gets_the_image_that_the_command_writes(tmp_path: Path, adapter: Path) -> None:
    assert main(arguments(tmp_path, adapter)) == 0
    a, a_prime, b = (tmp_path / f"{name}.png" for name in ("a", "a2", "b"))
    mini = BaseModelSpec(name="mini")
    options = analogy.AnalogyOptions([a], [a_prime], b, str(adapter), base_model=mini, steps=2)
    result = analogy.change_image(options)
    with Image.open(tmp_path / "out.png") as image:
        assert np.array_equal(result.image, np.asarray(image))
    assert result.strip().shape == (2 * 128 + 16, 2 * 128, 3)
    assert result.notes == []


def test_a_photo_is_read_as_it_is_displayed(tmp_path: Path, adapter: Path) -> None:
    for name in ("phone", "upright"):
        shutil.copy(SAMPLES / f"seven_{name}.jpg", tmp_path)
    phone, upright = tmp_path / "seven_phone.jpg", tmp_path / "seven_upright.jpg"
    options = analogy.AnalogyOptions([phone], [upright], phone, str(adapter))
    images, _ = analogy.read_images(options, 1, 96)
    difference = np.abs(images.a.astype(int) - images.a_prime)
    assert difference.mean() < 2, "both are JPEGs of one picture"
