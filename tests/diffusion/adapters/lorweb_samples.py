"""A LoRWeB on a small network, and analogies for it."""

import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec, AnalogySpec
from pipeline.diffusion.adapters import LorwebAdapter, make_adapter
from tests.diffusion.adapters.samples import network

WIDTH = 3 * 128
"""Width of an analogy embedded by mini's encoder."""


def spec_of(rank: int = 2, **about: object) -> AdapterSpec:
    given = {"basis": 3, "key_width": 6} | about
    return AdapterSpec(type="lorweb", rank=rank, alpha=2.0 * rank, analogy=AnalogySpec(**given))


def adapted(spec: AdapterSpec, seed: int = 0) -> tuple[nn.Sequential, LorwebAdapter]:
    """A network, in double precision, whose adapter has learned something."""
    net = network()
    adapter = make_adapter(net, spec, seed)
    net.double()
    adapter.state.projection.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return net, adapter


def analogies(count: int, seed: int = 3) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))
