"""The fine-tuning of an adapter, step by step: passes, processes, half precision, averages; resumed exactly."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import FinetuneSettings
from pipeline.core.checkpoint import load_checkpoint, save_checkpoint
from pipeline.core.errors import UserError
from pipeline.core.lr_schedule import Schedule, constant, half_cosine, schedule_rates, warmup
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.prompt_embeddings import denoise


def snr_weights(alpha_bar: Tensor, gamma: float, prediction: str) -> Tensor:
    """Min-SNR weights of squared errors [n] at noise levels [n]: min(SNR, gamma) / SNR, of v / (SNR + 1).

    SNR = alpha_bar / (1 - alpha_bar) (Hang et al., ICCV 2023, section 3.4).
    """
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=gamma) / (snr if prediction == "epsilon" else snr + 1)


def losses(model: BaseModel, batch: Batch, parts: int, snr_gamma: float | None = None) -> list[Tensor]:
    """Mean squared errors of the denoiser on each of the equal `parts` of a batch, which is on the model's device."""
    levels = model.alpha_bar[batch.timesteps].to(batch.clean.device)
    alpha_bar = levels[:, None, None, None]
    noisy = alpha_bar.sqrt() * batch.clean + (1 - alpha_bar).sqrt() * batch.noise
    output = denoise(model.denoiser, noisy, batch.timesteps.to(noisy.device), batch.prompts)
    wanted = model.target(batch.clean, batch.noise, alpha_bar)
    each = F.mse_loss(output, wanted, reduction="none").mean((1, 2, 3))
    if snr_gamma is not None:
        each = each * snr_weights(levels, snr_gamma, model.prediction)
    return [part.mean() for part in each.chunk(parts)]


def make_optimizer(adapter: Adapter, settings: FinetuneSettings) -> torch.optim.Optimizer:
    """AdamW, or that of bitsandbytes with its state in 8 bits; UserError if that is not there."""
    groups = adapter.parameter_groups(settings.learning_rate, settings.middle_lr_factor)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, foreach=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            "finetune.optimizer: adamw8bit needs bitsandbytes; pip install bitsandbytes, or take adamw"
        ) from error
    return AdamW8bit(groups, weight_decay=settings.weight_decay)


def rate_schedule(settings: FinetuneSettings) -> Schedule:
    """Return the learning-rate schedule: a linear warm-up, then constant or half a cosine down to the last step."""
    falling = max(1, settings.steps - settings.warmup)

    def cosine(step: int) -> float:
        # The share is computed first. `lr_schedule.cosine` rounds otherwise, and other roundings are other adapters.
        return half_cosine(math.pi * (step / falling))

    return warmup(settings.warmup, constant if settings.schedule == "constant" else cosine)


class Tuner:
    """An adapter, what trains it, and what is kept of it.

    A batch is shared by processes and, in each, by passes; gradients are the means of those of all shares, so that
    the result is the one of a whole batch but for rounding. All processes hold the same weights.
    """

    def __init__(
        self, model: BaseModel, adapter: Adapter, data: TuningData, accelerator: Accelerator
    ) -> None:
        self.model, self.adapter, self.data, self.accelerator = model, adapter, data, accelerator
        self.settings, self.parameters = data.settings, list(adapter.parameters())
        optimizer = make_optimizer(adapter, self.settings)
        self.optimizer = accelerator.prepare(optimizer)
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(self.settings))
        self.average: dict[str, Tensor] = {}
        if self.settings.ema is not None:
            self.average = {name: tensor.clone() for name, tensor in adapter.tensors().items()}

    def step(self, step: int) -> list[float]:
        """Learn from the batch of `step`. Returns its loss and that of each part; UserError if one is not finite."""
        parts = self._gradients(self.data.batch(step))
        loss = sum(parts) / len(parts)
        if not torch.isfinite(loss):
            raise UserError(f"the loss became {loss.item()} at step {step}; lower finetune.learning_rate")
        self.accelerator.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.optimizer.step()
        self.lr_scheduler.step()
        self._add_to_average()
        return [loss.item(), *(part.item() for part in parts)]

    def _gradients(self, batch: Batch) -> list[Tensor]:
        """Put the gradients of `batch` on the parameters, and return the losses of its parts."""
        accelerator, passes, count = (
            self.accelerator,
            self.settings.gradient_accumulation,
            len(self.data.parts),
        )
        shares = passes * accelerator.num_processes
        found = [torch.zeros((), device=accelerator.device)] * count
        self.optimizer.zero_grad()
        for turn in range(passes):
            share = batch.share(count, accelerator.process_index * passes + turn, shares)
            self.adapter.set_condition(share.condition)
            with accelerator.autocast():
                parts = losses(self.model, share.to(accelerator.device), count, self.settings.snr_gamma)
            accelerator.backward(sum(parts) / count / passes)
            found = [whole + part.detach() / passes for whole, part in zip(found, parts, strict=True)]
        if accelerator.num_processes == 1:
            return found
        self._reduce_gradients()
        return list(accelerator.reduce(torch.stack(found), "mean"))

    def _reduce_gradients(self) -> None:
        """The mean over processes, of all gradients in one message: an adapter's are few beside the model's weights."""
        gradients = [parameter.grad for parameter in self.parameters]
        whole = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
        for gradient, mean in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    @torch.no_grad()
    def _add_to_average(self) -> None:
        """Average <- decay average + (1 - decay) weights; it starts as the adapter does."""
        for name, tensor in self.adapter.tensors().items():
            if name in self.average:
                self.average[name].lerp_(tensor, 1 - self.settings.ema)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the adapter has its averaged weights, if averages are kept."""
        own = {name: tensor.clone() for name, tensor in self.adapter.tensors().items()}
        self._set(self.average or own)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, tensor in self.adapter.tensors().items():
            tensor.copy_(weights[name])

    def save(self, path: Path, log: list[list[float]]) -> None:
        """Write everything that the steps to come depend on."""
        tensors = self.adapter.tensors() | {f"ema.{name}": tensor for name, tensor in self.average.items()}
        if self.accelerator.scaler is not None:
            state = self.accelerator.scaler.state_dict()
            tensors |= {
                f"scaler.{name}": torch.tensor(float(value), dtype=torch.float64)
                for name, value in state.items()
            }
        save_checkpoint(path, tensors, self.optimizer, log)

    def resume(self, path: Path) -> list[list[float]]:
        """Take over what `save` wrote, and return its log, which is empty if there is nothing to resume."""
        restored = load_checkpoint(path, self.optimizer)
        if restored is None:
            return []
        tensors, log = restored
        self._set(tensors)
        for name, tensor in self.average.items():
            tensor.copy_(tensors[f"ema.{name}"])
        scaler = self.accelerator.scaler
        if scaler is not None:
            kinds = {name: type(value) for name, value in scaler.state_dict().items()}
            scaler.load_state_dict(
                {name: kind(tensors[f"scaler.{name}"].item()) for name, kind in kinds.items()}
            )
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(self.settings), done=len(log))
        return log
