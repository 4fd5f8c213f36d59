"""Terra as standard LoRA files and back, in stock pipelines of diffusers; and the plain LoRA beside it."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.cli import main
from pipeline.config import MINI, AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import Adapter, LoraAdapter, TerraAdapter, load_adapter, make_adapter
from pipeline.diffusion.adapters.export import export_lora
from pipeline.diffusion.adapters.lora.file import write_lora
from tests.tiny_pipelines import sdxl

POINTS = {1: [0.5], 2: [0.5, -1.0], 3: [0.5, -1.0, 0.2]}


def mini() -> DiffusionPipeline:
    return DiffusionPipeline.from_pretrained(MINI, use_safetensors=True)


@pytest.fixture(params=[mini, sdxl], ids=["mini", "sdxl"])
def pipe(request: pytest.FixtureRequest) -> DiffusionPipeline:
    made = request.param()
    made.set_progress_bar_config(disable=True)
    return made


def image(pipe: DiffusionPipeline) -> np.ndarray:
    """float32 [32, 32, 3] in 0..1, always from the same noise."""
    return pipe(
        "a seven",
        num_inference_steps=4,
        guidance_scale=3.0,
        height=32,
        width=32,
        output_type="np",
        generator=torch.Generator().manual_seed(1),
    ).images[0]


@torch.no_grad()
def learned(adapter: Adapter) -> Adapter:
    """With weights as after some training: the images change visibly, and differ from t to t."""
    generator = torch.Generator().manual_seed(2)
    for parameter in adapter.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.08)
    return adapter


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


@pytest.mark.parametrize(
    ("form", "diagonal", "t_dim"), [("linear", False, 1), ("exponential", False, 2), ("cosine", True, 3)]
)
def test_diffusers_renders_the_exported_lora_as_terra_at_that_t(
    pipe: DiffusionPipeline, tmp_path: Path, form: str, diagonal: bool, t_dim: int
) -> None:
    stock, t = copy.deepcopy(pipe), POINTS[t_dim]
    base = image(stock)
    spec = AdapterSpec(form=form, diagonal=diagonal, t_dim=t_dim, rank=3, alpha=2.0)
    terra = learned(TerraAdapter(pipe.unet, spec, 0))
    terra.save(tmp_path / "adapter.safetensors")
    terra.set_condition(t)
    terra.set_scale(0.9)
    export_lora(tmp_path, tmp_path / "lora.safetensors", t, scale=0.9)
    stock.load_lora_weights(str(tmp_path / "lora.safetensors"))
    expected = image(pipe)
    assert distance(image(stock), expected) <= 1e-4
    assert distance(base, expected) > 0.01, "the adapter does something"


@pytest.mark.parametrize("form", ["linear", "exponential", "cosine"])
def test_a_lora_is_the_t_zero_point_of_a_new_terra(
    pipe: DiffusionPipeline, tmp_path: Path, form: str
) -> None:
    stock, path = copy.deepcopy(pipe), tmp_path / "pytorch_lora_weights.safetensors"
    lora = learned(make_adapter(stock.unet, AdapterSpec(type="lora", rank=3, alpha=6.0), 0))
    stock.save_lora_weights(tmp_path, unet_lora_layers=peft_layers(lora))
    lora.set_scale(0.5)  # alpha = rank, which is how diffusers reads a file that says nothing of alpha
    terra = TerraAdapter.from_lora(pipe.unet, path, seed=0, form=form, t_dim=2)
    terra.set_condition([0.0, 0.0])
    expected = image(stock)
    assert distance(image(pipe), expected) <= 1e-4
    assert set(terra.layers) == set(lora.layers)
    terra.merge([0.0, 0.0])
    assert distance(image(pipe), expected) <= 1e-4


def peft_layers(lora: LoraAdapter) -> dict[str, torch.Tensor]:
    names = {"down": "lora_A", "up": "lora_B"}
    return {
        f"{layer}.{names[part]}.weight": tensor
        for (layer, _, part), tensor in ((name.rpartition("."), t) for name, t in lora.tensors().items())
    }


def test_a_lora_file_with_an_alpha_keeps_it(tmp_path: Path) -> None:
    """kohya's layout: alpha is a tensor for each layer."""
    unet, name = mini().unet, "lora_unet_down_blocks_1_attentions_0_proj_in"
    down, up = torch.randn(4, 64, 1, 1), torch.randn(64, 4, 1, 1)
    tensors = {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": up,
        f"{name}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "kohya.safetensors")
    terra = TerraAdapter.from_lora(unet, tmp_path / "kohya.safetensors", seed=0)
    (layer,) = terra.layers.values()
    assert torch.allclose(layer.delta(0.0).flatten(1), 0.5 * up.flatten(1) @ down.flatten(1), atol=1e-5)


def test_a_file_that_is_no_lora_of_this_model_is_refused_with_both_sides(tmp_path: Path) -> None:
    path, unet = tmp_path / "lora.safetensors", mini().unet
    save_file(
        {
            "unet.conv_in.lora_A.weight": torch.zeros(2, 9, 3, 3),
            "unet.conv_in.lora_B.weight": torch.zeros(32, 2, 1, 1),
        },
        path,
    )
    with pytest.raises(UserError, match=r"LoRA of this UNet2DConditionModel: .*size"):
        TerraAdapter.from_lora(unet, path, seed=0)
    save_file(
        {
            "text_encoder.a.lora_A.weight": torch.zeros(2, 9),
            "text_encoder.a.lora_B.weight": torch.zeros(9, 2),
        },
        path,
    )
    with pytest.raises(UserError, match=r"text_encoder.a.*on the unet alone"):
        TerraAdapter.from_lora(mini().unet, path, seed=0)


def test_an_adapter_is_exported_only_at_a_t_of_its_own_and_to_a_name_diffusers_knows(tmp_path: Path) -> None:
    adapter = TerraAdapter(nn.Sequential(nn.Linear(3, 3)), AdapterSpec(rank=2, t_dim=2), 0)
    adapter.save(tmp_path / "adapter.safetensors")
    to = tmp_path / "lora.safetensors"
    for t, said in ((None, "say which"), ([0.5], r"t_dim is 2")):
        with pytest.raises(UserError, match=said):
            export_lora(tmp_path, to, t)
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        export_lora(tmp_path, tmp_path / "lora", [0.5, 0.0])
    with pytest.raises(UserError, match="there is no adapter"):
        export_lora(tmp_path / "nothing", to, [0.5, 0.0])


def test_the_command_exports_and_warns_where_k_is_singular(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = TerraAdapter(nn.Sequential(nn.Linear(3, 3)), AdapterSpec(rank=2), 0)
    with torch.no_grad():
        adapter.layers["0"].middle.copy_(torch.diag(torch.tensor([-2.0, 1.0])))
    adapter.save(tmp_path / "adapter.safetensors")
    to = tmp_path / "lora.safetensors"
    assert main(["export-lora", str(tmp_path), "--t", "0.5", "--to", str(to), "--json"]) == 0
    said = capsys.readouterr()
    assert "singular at t = [0.5]" in said.err
    assert json.loads(said.out)["layers"] == 1
    assert set(load_file(to)) == {"unet.0.lora_A.weight", "unet.0.lora_B.weight"}
    assert main(["export-lora", str(tmp_path), "--t", "0.5,1", "--to", str(to)]) == 2
    assert "t_dim is 1" in capsys.readouterr().err


def test_an_adapter_is_exported_by_its_key_in_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "artifacts" / "finetune" / "0123abcd"
    make_adapter(nn.Sequential(nn.Linear(3, 3)), LORA, 0).save(folder / "adapter.safetensors")
    to, store = str(tmp_path / "lora.safetensors"), ("--store", str(tmp_path))
    assert main(["export-lora", "0123abcd", "--to", to, *store]) == 0
    assert main(["export-lora", "89ef", "--to", to, *store]) == 2
    said = capsys.readouterr().err
    assert "adapter 89ef: there is no such file or folder, and no finished fine-tuning of that key" in said


def test_a_lora_is_written_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    path, contents = tmp_path / "lora.safetensors", set()
    for _ in range(8):
        write_lora(path, {"a": (torch.ones(2, 3), torch.ones(5, 2))}, {"scale": 1.0, "of": "\u00e9"})
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert load_file(path)["unet.a.lora_A.weight"].equal(torch.ones(2, 3))
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "terrabench": json.dumps({"scale": 1.0, "of": "\u00e9"})}


# --------------------------------------------------------------------------------------- the plain LoRA


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Flatten(2), nn.Linear(64, 5))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


LORA = AdapterSpec(type="lora", rank=3, alpha=6.0)


def test_a_lora_starts_as_the_base_model_with_the_a_of_a_terra(x: torch.Tensor) -> None:
    net, other = network(), network()
    before = net(x)
    lora, terra = make_adapter(net, LORA, 4), make_adapter(other, AdapterSpec(rank=3), 4)
    assert torch.equal(net(x), before)
    assert all(
        torch.equal(t, terra.tensors()[name]) for name, t in lora.tensors().items() if name.endswith("down")
    )
    assert {id(p) for p in net.parameters() if p.requires_grad} == {id(p) for p in lora.parameters()}


def test_a_lora_equals_a_terra_at_t_zero_merges_and_unmerges_bit_for_bit(x: torch.Tensor) -> None:
    net, other = network(), network()
    lora = learned(make_adapter(net, LORA, 0))
    terra = make_adapter(other, AdapterSpec(rank=3, alpha=6.0), 0)
    held = lora.tensors()
    for name, tensor in terra.tensors().items():
        if name in held:
            tensor.copy_(held[name].reshape(tensor.shape))
    lora.set_scale(0.7)
    terra.set_scale(0.7)
    lora.set_condition(0.3)
    expected = net(x)
    assert torch.allclose(other(x), expected, atol=1e-5)
    before = {name: layer.base_layer.weight.clone() for name, layer in lora.layers.items()}
    lora.merge(1.0)
    assert torch.allclose(net(x), expected, atol=1e-5)
    lora.unmerge()
    assert all(torch.equal(layer.base_layer.weight, before[name]) for name, layer in lora.layers.items())


def test_a_lora_is_saved_loaded_and_exported(tmp_path: Path, x: torch.Tensor) -> None:
    net, other = network(), network()
    lora = learned(make_adapter(net, LORA, 0))
    lora.save(tmp_path / "adapter.safetensors")
    load_adapter(other, tmp_path)
    assert torch.equal(net(x), other(x)), "from the folder of an artifact as from its file"
    export_lora(tmp_path, tmp_path / "lora.safetensors", None)
    held = load_file(tmp_path / "lora.safetensors")
    assert held["unet.0.lora_A.weight"].shape == (3, 3, 3, 3)
    assert held["unet.0.lora_B.weight"].shape == (4, 3, 1, 1)


@pytest.mark.parametrize("spec", [LORA, AdapterSpec(rank=3, alpha=6.0)], ids=["lora", "terra"])
def test_an_adapter_of_a_model_in_half_precision_learns_in_single(x: torch.Tensor, spec: AdapterSpec) -> None:
    single, half = network(), network().bfloat16()
    outputs = []
    for net in (single, half):
        adapter = learned(make_adapter(net, spec, 0))
        adapter.set_condition(0.3)
        with torch.autocast("cpu", torch.bfloat16, enabled=net is half):
            outputs.append(net(x).float())
        assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
    assert 0 < (outputs[0] - outputs[1]).abs().max() < 0.05 * outputs[0].abs().max()


def test_a_lora_takes_no_form() -> None:
    with pytest.raises(ValueError, match="type lora has no K"):
        AdapterSpec(type="lora", form="cosine")
