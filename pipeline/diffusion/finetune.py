"""Stage one: fine-tune an adapter on the images that tuning_data.py gives, each at its own t."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.config import FinetuneParams, FinetuneSettings
from pipeline.determinism import reproducible
from pipeline.diffusion.adapters import Adapter, make_adapter
from pipeline.diffusion.base import BaseModel
from pipeline.diffusion.tuning_data import Batch, TuningData, tuning_data
from pipeline.errors import UserError
from pipeline.stage import Progress
from pipeline.store import write_atomic


def learning_rate_factor(settings: FinetuneSettings, step: int) -> float:
    """The schedule at `step` (from 0), in (0, 1]: linear warm-up, then constant or half a cosine."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def losses(model: BaseModel, batch: Batch, parts: int) -> list[Tensor]:
    """Mean squared errors of the denoiser on each of the equal `parts` of a batch."""
    alpha_bar = model.alpha_bar[batch.timesteps][:, None, None, None]
    noisy = alpha_bar.sqrt() * batch.clean + (1 - alpha_bar).sqrt() * batch.noise
    output = model.denoiser(noisy, batch.timesteps, encoder_hidden_states=batch.prompts).sample
    wanted = model.target(batch.clean, batch.noise, alpha_bar)
    each = F.mse_loss(output, wanted, reduction="none").mean((1, 2, 3))
    return [part.mean() for part in each.chunk(parts)]


def train_adapter(
    model: BaseModel, adapter: Adapter, data: TuningData, workspace: Path, progress: Progress
) -> list[list[float]]:
    """Train to the end, from the last checkpoint if there is one. Returns [step, loss, that of each part] by step."""
    settings, state = data.settings, workspace / "scratch" / "checkpoint.safetensors"
    groups = adapter.parameter_groups(settings.learning_rate, settings.middle_lr_factor)
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    first, log = 0, []
    if state.exists():
        tensors, log = load_checkpoint(state, optimizer)
        first = len(log)
        for name, tensor in adapter.tensors().items():
            tensor.copy_(tensors[name])
    for step in range(first, settings.steps):
        batch = data.batch(step)
        adapter.set_t(batch.t)
        parts = losses(model, batch, len(data.parts))
        loss = sum(parts) / len(parts)
        if not torch.isfinite(loss):
            raise UserError(f"the loss became {loss.item()} at step {step}; lower finetune.learning_rate")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(adapter.parameters()), settings.clip_norm)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * learning_rate_factor(settings, step)
        optimizer.step()
        log.append([step, loss.item(), *(part.item() for part in parts)])
        if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
            save_checkpoint(state, adapter.tensors(), optimizer, log)
        progress(step + 1, settings.steps, f"loss {loss.item():.3f}")
    return log


def run(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make adapter.safetensors and losses.csv (step, loss, and that of each part: source_loss, target_loss under uda).

    inputs: `data`, a prepare artifact, and under dg `times`, that of a t-predictor.
    """
    with reproducible(params.threads):
        model = BaseModel.load(params.base_model)
        data = tuning_data(model, params, inputs)
        adapter = make_adapter(model.denoiser, params.adapter, params.settings.seed)
        log = train_adapter(model, adapter, data, workspace, progress)
        adapter.save(workspace / "adapter.safetensors")
        columns = ["step", "loss", *(f"{part}_loss" for part in data.parts)]
        rows = [[f"{row[0]:.0f}", *(f"{value:.6g}" for value in row[1:])] for row in log]
        lines = [",".join(row) for row in [columns, *rows]]
        write_atomic(workspace / "losses.csv", "\n".join(lines) + "\n")
