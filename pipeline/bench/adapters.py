"""Measure what Terra costs beside a LoRA of peft and beside the base model, on the mini model.

The sides take turns, so that other work on the machine slows both alike; reported are medians of the ratios
of neighbouring turns.
"""

import copy
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from pipeline.bench.timing import Log, alternate
from pipeline.config import AdapterSpec, BaseModelSpec
from pipeline.core.reproducibility import reproducible
from pipeline.diffusion.adapters import Adapter, make_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings, denoise

Comparison = dict[str, float]
"""`milliseconds` of the measured side, `beside` of the other one, and the median `ratio` of both."""

RANK = 8
BATCH = 48
"""The batch size of the digits suites: 24 images of each of two domains, or 16 of each of three."""
TIMESTEP = 500
SPECS = {
    "linear": AdapterSpec(rank=RANK, alpha=RANK),
    "linear diagonal": AdapterSpec(rank=RANK, alpha=RANK, diagonal=True),
    "exponential": AdapterSpec(rank=RANK, alpha=RANK, form="exponential"),
    "cosine": AdapterSpec(rank=RANK, alpha=RANK, form="cosine"),
    "cosine 2-d": AdapterSpec(rank=RANK, alpha=RANK, form="cosine", t_dim=2),
}
LORA = AdapterSpec(type="lora", rank=RANK, alpha=RANK)
LIMITS = {"train": 1.10, "merged": 1.02, "per_sample": 1.15}
"""The ratios that Terra should not exceed."""


def measure(turns: int, log: Log) -> dict[str, dict[str, dict[str, float]]]:
    """Run all comparisons; takes a few minutes.

    Args:
        turns: How often each side is timed.
        log: Called with what is being measured.

    Returns:
        By comparison and form of Terra: a Comparison, or under `parameters` the counts of `count_parameters`.
    """
    with reproducible(threads=1):
        model = BaseModel.load(BaseModelSpec(name="mini"), device=torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(BATCH, 4, 16, 16, generator=generator)
        prompts = model.embed(["a seven"])[[0] * BATCH]
        measured: dict[str, dict[str, dict[str, float]]] = {
            "train": {},
            "merged": {},
            "per_sample": {},
            "parameters": {},
        }
        for name, spec in SPECS.items():
            log(f"{name}: training")
            measured["train"][name] = compare_training(model.denoiser, spec, latents, prompts, turns)
            log(f"{name}: sampling")
            measured["per_sample"][name] = compare_times(model.denoiser, spec, latents, prompts, turns)
            measured["parameters"][name] = count_parameters(model.denoiser, spec)
        measured["merged"]["any"] = compare_merged(model.denoiser, latents, prompts, 4 * turns)
    return measured


def described(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """Describe the comparisons, one per line."""
    lines = [
        f"{what:<11} {name:<16} {found['milliseconds']:8.1f} ms, {found['beside']:8.1f}: "
        f"{found['ratio']:.3f} times (aim: at most {limit})"
        for what, limit in LIMITS.items()
        for name, found in measured[what].items()
    ]
    for name, spec in SPECS.items():
        surplus = measured["parameters"][name]["each"]
        aim = (RANK if spec.diagonal else RANK**2) * (2 if spec.form == "cosine" else 1)
        reason = ", because it learns amplitudes and frequencies" if spec.form == "cosine" else ""
        lines.append(
            f"parameters  {name:<16} {surplus:g} more than the LoRA for each layer and dimension of t "
            f"(aim: {aim}{reason})"
        )
    return "\n".join(lines)


def _compare(measured: Callable[[], object], beside: Callable[[], object], turns: int) -> Comparison:
    """Time both sides in turns."""
    times = alternate(measured, beside, turns)
    return {
        "milliseconds": 1000 * median(ours for ours, _ in times),
        "beside": 1000 * median(theirs for _, theirs in times),
        "ratio": median(ours / theirs for ours, theirs in times),
    }


def _adapted(denoiser: nn.Module, spec: AdapterSpec) -> tuple[nn.Module, Adapter]:
    """Copy `denoiser` and wrap the copy with an adapter of `spec`."""
    copied = copy.deepcopy(denoiser)
    return copied, make_adapter(copied, spec, seed=0)


def _predict(denoiser: nn.Module, latents: Tensor, prompts: PromptEmbeddings) -> Tensor:
    return denoise(denoiser, latents, TIMESTEP, prompts)


def _training_step(
    denoiser: nn.Module, spec: AdapterSpec, latents: Tensor, prompts: PromptEmbeddings
) -> Callable[[], None]:
    """Return a function that does one step of stage one, with half the batch at t = 0 and half at t = 1."""
    adapted, adapter = _adapted(denoiser, spec)
    points = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2)])
    adapter.set_condition(points[:, None].expand(-1, spec.t_dim))
    optimizer = torch.optim.AdamW(adapter.parameter_groups(1e-4, 1.0), foreach=True)
    parameters = list(adapter.parameters())

    def step() -> None:
        loss = _predict(adapted, latents, prompts).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def compare_training(
    denoiser: nn.Module, spec: AdapterSpec, latents: Tensor, prompts: PromptEmbeddings, turns: int
) -> Comparison:
    """Compare a training step of `spec` with one of peft's LoRA of the same rank and layers."""
    return _compare(
        _training_step(denoiser, spec, latents, prompts),
        _training_step(denoiser, LORA, latents, prompts),
        turns,
    )


@torch.inference_mode()
def compare_merged(denoiser: nn.Module, latents: Tensor, prompts: PromptEmbeddings, turns: int) -> Comparison:
    """Compare the denoiser with Terra merged at one t to the base model; merged, all forms are alike."""
    merged, adapter = _adapted(denoiser, SPECS["linear"])
    adapter.merge(0.5)
    return _compare(
        partial(_predict, merged, latents, prompts), partial(_predict, denoiser, latents, prompts), turns
    )


def compare_times(
    denoiser: nn.Module, spec: AdapterSpec, latents: Tensor, prompts: PromptEmbeddings, turns: int
) -> Comparison:
    """Compare the unmerged denoiser with a t for each sample to the one with a single t for all."""
    points = torch.linspace(0, 1, BATCH)[:, None].expand(-1, spec.t_dim)

    def prediction_at(t: Tensor) -> Callable[[], Tensor]:
        adapted, adapter = _adapted(denoiser, spec)
        adapter.set_condition(t)
        return partial(torch.inference_mode()(_predict), adapted, latents, prompts)

    return _compare(prediction_at(points), prediction_at(points[BATCH // 2]), turns)


def count_parameters(denoiser: nn.Module, spec: AdapterSpec) -> dict[str, float]:
    """Count learned parameters.

    Returns:
        `terra`, those of an adapter of `spec`; `lora`, those of the LoRA; and `each`, the surplus for each
        layer and dimension of t.
    """
    terra, lora = (_adapted(denoiser, each)[1] for each in (spec, LORA))
    counts = [sum(parameter.numel() for parameter in adapter.parameters()) for adapter in (terra, lora)]
    layers = sum(name.endswith(".down") for name in terra.named_parameters())
    return {"terra": counts[0], "lora": counts[1], "each": (counts[0] - counts[1]) / layers / spec.t_dim}
