"""Compiled networks compute what they did before, but for rounding; without a compiler a sentence says so."""

from functools import partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.config import AdapterSpec, BaseModelSpec
from pipeline.core.compiling import compile_network
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.prompt_embeddings import denoise


@pytest.mark.slow
def test_a_compiled_denoiser_with_its_adapter_differs_by_rounding(
    sd15_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained at a t of each sample, and merged at one t after another.

    The graphs are captured as always, but not turned into C++, which would take minutes.
    """
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    outputs: dict[bool, list[torch.Tensor]] = {}
    for compiled in (False, True):
        model = BaseModel.load(BaseModelSpec(name=str(sd15_folder), resolution=64))
        adapter = make_adapter(model.denoiser, AdapterSpec(rank=2, alpha=2.0), seed=0)
        for parameter in adapter.parameters():
            parameter.data.add_(0.1)
        if compiled:
            model.compile("finetune.compile")
        prompts = model.embed(["A zero"])[[0, 0]]
        noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        found = outputs[compiled] = []
        for t in (torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.2])):
            adapter.set_condition(t)
            output = denoise(model.denoiser, noise, torch.tensor([3, 500]), prompts)
            output.square().mean().backward()
            gradients = [parameter.grad.clone() for parameter in adapter.parameters()]
            found += [output.detach(), torch.cat([gradient.flatten() for gradient in gradients])]
        for t in (0.0, 1.0):
            adapter.merge(t)
            found.append(denoise(model.denoiser, noise, 500, prompts).detach())
    for plain, compiled_output in zip(outputs[False], outputs[True], strict=True):
        assert torch.allclose(plain, compiled_output, rtol=1e-3, atol=1e-4 * plain.abs().max())
    assert not torch.allclose(outputs[True][-1], outputs[True][-2])


@pytest.mark.slow
def test_a_network_is_compiled_in_place() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    images = torch.randn(5, 3)
    expected, names = network(images), list(network.state_dict())
    compile_network(network, torch.device("cpu"), "train.compile")
    assert torch.allclose(network(images), expected, atol=1e-6)
    assert list(network.state_dict()) == names


def test_a_missing_compiler_is_a_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"train.compile: true needs a C\+\+ compiler.*or take false"):
        compile_network(nn.Linear(2, 2), torch.device("cpu"), "train.compile")
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"generate.compile: true needs triton"):
        compile_network(nn.Linear(2, 2), torch.device("cuda"), "generate.compile")
