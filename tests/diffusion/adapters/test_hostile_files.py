"""Adapters' files that are damaged, or hold what no training wrote: one sentence for each."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.cli import main
from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import load_adapter, make_adapter
from pipeline.diffusion.adapters.lora.file import read_lora
from tests.tiny_pipelines import sdxl

SPEC = AdapterSpec(rank=2)

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4))


def put(name: str, value: Tensor) -> Change:
    return lambda tensors: tensors | {name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("0.up", torch.full((4, 2), torch.nan)), "the tensor 0.up holds NaN or infinity"),
        (put("0.middle", torch.full((2, 2), -torch.inf)), "the tensor 0.middle holds NaN or infinity"),
        (put("0.up", torch.ones(4, 3)), "the tensor 0.up is [4, 3], but the spec in the file needs [any, 2]"),
        (put("0.down", torch.ones(3)), "the tensor 0.down is [3], but the spec in the file needs [2, any]"),
        (put("0.middle", torch.ones(2)), "the tensor 0.middle is [2], but the spec in the file needs [2, 2]"),
        (put("1.up", torch.ones(4, 2)), "it holds no tensor 1.down"),
        (lambda tensors: {n: t for n, t in tensors.items() if n != "0.middle"}, "no tensor 0.middle"),
        (lambda tensors: {}, "holds the spec of an adapter, but no tensors"),
    ],
)
def test_tensors_that_no_training_wrote_are_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, message: str
) -> None:
    path, to = tmp_path / "adapter.safetensors", tmp_path / "lora.safetensors"
    tensors = make_adapter(network(), SPEC, 0).tensors()
    save_file(change(tensors), path, {"terra": json.dumps(SPEC.model_dump())})
    assert main(["export-lora", str(path), "--t", "0.5", "--to", str(to)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert message in said
    assert len(said.splitlines()) == 1
    assert not to.exists()
    with pytest.raises(UserError, match=re.escape(message)):
        load_adapter(network(), path)


@pytest.mark.parametrize("content", [b"", b"{}", (2**62).to_bytes(8, "little") + b"{}", None])
def test_a_damaged_file_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    """None stands for a file that was cut off."""
    path, to = tmp_path / "adapter.safetensors", tmp_path / "lora.safetensors"
    make_adapter(network(), SPEC, 0).save(path)
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    assert main(["export-lora", str(path), "--t", "0.5", "--to", str(to)]) == 2
    said = capsys.readouterr().err
    assert f"{path} can't be read as safetensors: " in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--t", "nan"], "--t nan: expected a finite number"),
        (["--t", "inf"], "--t inf: expected a finite number"),
        (["--t", "1", "--scale", "nan"], "--scale nan: expected a finite number"),
        (["--t", "1e39"], "overflows"),
    ],
)
def test_a_time_or_scale_that_gives_no_lora_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    adapter, to = make_adapter(network(), SPEC, 0), tmp_path / "lora.safetensors"
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.fill_(1.0)
    adapter.save(tmp_path / "adapter.safetensors")
    assert main(["export-lora", str(tmp_path), *options, "--to", str(to)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not to.exists()


def test_a_lora_with_nan_starts_no_terra(tmp_path: Path) -> None:
    tensors = {
        "unet.conv_in.lora_A.weight": torch.full((2, 4, 3, 3), torch.nan),
        "unet.conv_in.lora_B.weight": torch.zeros(16, 2, 1, 1),
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=r"lora.safetensors: the tensor unet.conv_in.lora_A.weight holds NaN"):
        read_lora(sdxl().unet, tmp_path / "lora.safetensors")
