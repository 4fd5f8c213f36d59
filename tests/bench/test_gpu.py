"""`bench gpu` on the CPU: small models, and the code of the large ones on tiny configurations."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from pipeline.bench import gpu
from pipeline.cli import main
from pipeline.planning.network_sizes import SD15, SDXL
from pipeline.planning.rates import read_rates

STEPS = ["denoise", "encode", "decode", "finetune", "finetune", "train"]


def test_the_small_models_are_measured_without_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(gpu, "ON_CPU", gpu.Sizes({"mini": 2}, {"digits_cnn": 4}, ("fp32",)))
    assert main(["bench", "gpu", "--turns", "1", "--json"]) == 0
    said = capsys.readouterr()
    assert "there is no GPU here" in said.err
    (tmp_path / "cpu.json").write_text(said.out)
    rates = read_rates(tmp_path / "cpu.json")
    assert rates.card == "cpu"
    assert [one.step for one in rates.measurements] == STEPS
    assert [one.passes for one in rates.measurements] == [1, 1, 1, 2, 3, 3]
    assert all(one.gib is None and 1e6 < one.rate < 1e13 for one in rates.measurements)
    assert "digits_cnn" in gpu.described(json.loads(said.out))
    assert main(["plan", "digits", "--rates", str(tmp_path / "cpu.json"), "--store", str(tmp_path)]) == 0
    assert "card: from the speed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_large_models_of_a_few_channels_are_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads(gpu.NETWORKS_FILE.read_text())
    small = {"block_out_channels": [32] * len(told[name]["unet"]["block_out_channels"])}
    if name == "sdxl":
        small |= {"transformer_layers_per_block": [1, 1, 1], "attention_head_dim": [2, 2, 2]}
    told[name]["unet"] |= small | {"layers_per_block": 1}
    told[name]["resolution"] = 128
    told["vae"] |= {"block_out_channels": [32] * 4, "layers_per_block": 1}
    monkeypatch.setattr(
        gpu,
        "random_base_model",
        lambda name, precision, device: gpu.build_base_model(told, name, precision, device),
    )
    monkeypatch.setattr(gpu, "default_device", lambda: torch.device("cpu"))
    measured = gpu.measure(1, lambda text: None, gpu.Sizes({name: 1}, {}, ("fp32",)))
    assert [one["step"] for one in measured["measurements"]] == STEPS[:-1]


def test_the_configurations_are_the_true_architectures() -> None:
    """As many parameters as the published models have."""
    told = json.loads(gpu.NETWORKS_FILE.read_text())
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(told["vae"])
        unets = {name: UNet2DConditionModel.from_config(told[name]["unet"]) for name in ("sd15", "sdxl")}
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    counted = {name: sum(p.numel() for p in unet.parameters()) for name, unet in unets.items()}
    assert counted == {"sd15": 859_520_964, "sdxl": 2_567_463_684}
    assert counted["sd15"] == pytest.approx(SD15.parameters, rel=0.01)
    assert counted["sdxl"] == pytest.approx(SDXL.parameters, rel=0.01)


def test_a_step_that_does_not_fit_is_measured_with_fewer_images() -> None:
    bench = gpu._Bench(torch.device("cpu"), 1, lambda text: None)

    def work(images: int) -> None:
        if images > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    about = {"network": "resnet50", "resolution": 224, "precision": "fp16"}
    bench._time("train", 9, 3.0, work, about)
    assert [one.images for one in bench.found] == [2]
