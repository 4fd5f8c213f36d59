"""`bench adapters`: what Terra costs beside a LoRA of peft and beside the base model, on the mini model.

The sides take turns, so that other work on the machine slows them alike, and what counts is the median of the ratios
of neighbouring turns.
"""

import copy
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec, BaseModelSpec
from pipeline.core.reproducibility import reproducible
from pipeline.diffusion.adapters import Adapter, make_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings, denoise

Say = Callable[[str], None]
Measured = dict[str, dict[str, dict[str, float]]]

RANK = 8
BATCH = 48
"""Of the digits suites: 24 images of each of two domains, or 16 of each of three."""
SPECS = {
    "linear": AdapterSpec(rank=RANK, alpha=RANK),
    "linear diagonal": AdapterSpec(rank=RANK, alpha=RANK, diagonal=True),
    "exponential": AdapterSpec(rank=RANK, alpha=RANK, form="exponential"),
    "cosine": AdapterSpec(rank=RANK, alpha=RANK, form="cosine"),
    "cosine 2-d": AdapterSpec(rank=RANK, alpha=RANK, form="cosine", t_dim=2),
}
LORA = AdapterSpec(type="lora", rank=RANK, alpha=RANK)
LIMITS = {"train": 1.10, "merged": 1.02, "per_sample": 1.15}


def measure(turns: int, say: Say) -> Measured:
    """By comparison and form: `ratio`, `milliseconds` and those of what it is compared with; parameters as counts."""
    with reproducible(threads=1):
        model = BaseModel.load(BaseModelSpec(name="mini"), device=torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(BATCH, 4, 16, 16, generator=generator)
        prompts = model.embed(["a seven"])[[0] * BATCH]
        measured: Measured = {"train": {}, "merged": {}, "per_sample": {}, "parameters": {}}
        for name, spec in SPECS.items():
            say(f"{name}: training")
            measured["train"][name] = compare_training(model.denoiser, spec, latents, prompts, turns)
            say(f"{name}: sampling")
            measured["per_sample"][name] = compare_times(model.denoiser, spec, latents, prompts, turns)
            measured["parameters"][name] = count_parameters(model.denoiser, spec)
        measured["merged"]["any"] = compare_merged(model.denoiser, latents, prompts, 4 * turns)
    return measured


def described(measured: Measured) -> str:
    """The comparisons for people, a line each."""
    lines = [
        f"{what:<11} {name:<16} {found['milliseconds']:8.1f} ms, {found['beside']:8.1f}: "
        f"{found['ratio']:.3f} times (aim: at most {limit})"
        for what, limit in LIMITS.items()
        for name, found in measured[what].items()
    ]
    for name, spec in SPECS.items():
        each = measured["parameters"][name]["each"]
        aim = (RANK if spec.diagonal else RANK**2) * (2 if spec.form == "cosine" else 1)
        why = ", for it learns amplitudes and frequencies" if spec.form == "cosine" else ""
        lines.append(
            f"parameters  {name:<16} {each:g} more than the LoRA for each layer and dimension of t (aim: {aim}{why})"
        )
    return "\n".join(lines)


def _race(ours: Callable[[], object], beside: Callable[[], object], turns: int) -> dict[str, float]:
    """Both sides `turns` times, after one time that does not count; who begins changes from turn to turn."""
    times: list[tuple[float, float]] = []
    for turn in range(-1, turns):
        taken = {}
        for side in ((0, 1), (1, 0))[turn % 2]:
            started = time.perf_counter()
            (ours, beside)[side]()
            taken[side] = time.perf_counter() - started
        times.append((taken[0], taken[1]))
    counted = times[1:]
    return {
        "milliseconds": 1000 * median(our for our, _ in counted),
        "beside": 1000 * median(their for _, their in counted),
        "ratio": median(our / their for our, their in counted),
    }


def _adapted(denoiser: nn.Module, spec: AdapterSpec) -> tuple[nn.Module, Adapter]:
    """A copy of `denoiser` with an adapter of `spec` around it."""
    copied = copy.deepcopy(denoiser)
    return copied, make_adapter(copied, spec, seed=0)


def _predict(denoiser: nn.Module, latents: Tensor, prompts: PromptEmbeddings) -> Tensor:
    return denoise(denoiser, latents, 500, prompts)


def _trainer(
    denoiser: nn.Module, adapter: Adapter, latents: Tensor, prompts: PromptEmbeddings
) -> Callable[[], None]:
    """One step of stage one: half of the batch at t = 0 and half at t = 1 in every dimension, clipped, AdamW."""
    points = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2)])
    adapter.set_condition(points[:, None].expand(-1, adapter.spec.t_dim))
    optimizer = torch.optim.AdamW(adapter.parameter_groups(1e-4, 1.0), foreach=True)
    parameters = list(adapter.parameters())

    def step() -> None:
        loss = _predict(denoiser, latents, prompts).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def compare_training(
    denoiser: nn.Module, spec: AdapterSpec, latents: Tensor, prompts: PromptEmbeddings, turns: int
) -> dict[str, float]:
    """A training step of `spec` beside one of peft's LoRA, of the same rank and layers."""
    sides = [_trainer(*_adapted(denoiser, each), latents, prompts) for each in (spec, LORA)]
    return _race(*sides, turns)


@torch.inference_mode()
def compare_merged(
    denoiser: nn.Module, latents: Tensor, prompts: PromptEmbeddings, turns: int
) -> dict[str, float]:
    """The denoiser with Terra merged at one t beside the base model: merged, all forms are the same."""
    copied, adapter = _adapted(denoiser, SPECS["linear"])
    adapter.merge(0.5)
    return _race(*(partial(_predict, side, latents, prompts) for side in (copied, denoiser)), turns)


def compare_times(
    denoiser: nn.Module, spec: AdapterSpec, latents: Tensor, prompts: PromptEmbeddings, turns: int
) -> dict[str, float]:
    """The denoiser, not merged, with another t for each sample beside one t for all."""
    points = torch.linspace(0, 1, BATCH)[:, None].expand(-1, spec.t_dim)
    sides = []
    for t in (points, points[BATCH // 2]):
        copied, adapter = _adapted(denoiser, spec)
        adapter.set_condition(t)
        sides.append(partial(torch.inference_mode()(_predict), copied, latents, prompts))
    return _race(*sides, turns)


def count_parameters(denoiser: nn.Module, spec: AdapterSpec) -> dict[str, float]:
    """Learned numbers of an adapter of `spec`, of the LoRA, and the surplus for each layer and dimension of t."""
    ours, lora = (_adapted(denoiser, each)[1] for each in (spec, LORA))
    counts = [sum(p.numel() for p in adapter.parameters()) for adapter in (ours, lora)]
    return {
        "terra": counts[0],
        "lora": counts[1],
        "each": (counts[0] - counts[1]) / len(ours.layers) / spec.t_dim,
    }
