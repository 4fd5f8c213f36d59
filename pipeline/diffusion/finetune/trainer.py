"""The training of an adapter, step by step: gradient accumulation, processes, averages, checkpoints."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import reduce
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import FinetuneSettings
from pipeline.core.checkpoint import load_checkpoint, save_checkpoint
from pipeline.core.device_batches import on_device, pinned
from pipeline.core.errors import UserError
from pipeline.core.lr_schedule import Schedule, constant, half_cosine, schedule_rates, warmup
from pipeline.core.prefetch import prefetch
from pipeline.core.step_losses import LOOK_EVERY, StepLosses, first_not_finite
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.prompt_embeddings import denoise


def snr_weights(alpha_bar: Tensor, gamma: float, prediction: str) -> Tensor:
    """Return min-SNR weights of squared errors (Hang et al., ICCV 2023, section 3.4).

    min(SNR, gamma) / SNR for a model that predicts noise, min(SNR, gamma) / (SNR + 1) for one that predicts
    v, with SNR = alpha_bar / (1 - alpha_bar). This is not diffusers' compute_snr, which squares a quotient of
    square roots and so differs in the last digits (by up to 3.4e-7 of the SNR), by which adapters would no
    longer be reproduced.

    Args:
        alpha_bar: Noise levels [n].
        gamma: Upper bound on the SNR.
        prediction: epsilon or v_prediction.
    """
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=gamma) / (snr if prediction == "epsilon" else snr + 1)


def losses(model: BaseModel, batch: Batch, parts: int, snr_gamma: float | None = None) -> list[Tensor]:
    """Return the mean squared error of the denoiser on each of the equal `parts` of a batch.

    Args:
        model: The base model with its adapter.
        batch: On the model's device. No number of it is waited for.
        parts: Number of parts, such as a source and a target.
        snr_gamma: Gamma of min-SNR weights, or None for equal weights.
    """
    timesteps = batch.timesteps
    noisy = model.add_noise(batch.clean, batch.noise, timesteps)
    output = denoise(model.denoiser, noisy, timesteps, batch.prompts)
    target = model.target(batch.clean, batch.noise, timesteps)
    errors = F.mse_loss(output, target, reduction="none").mean((1, 2, 3))
    if snr_gamma is not None:
        alpha_bar = model.noise_schedule.alphas_cumprod[timesteps]
        errors = errors * snr_weights(alpha_bar, snr_gamma, model.prediction)
    return [part.mean() for part in errors.chunk(parts)]


def make_optimizer(adapter: Adapter, settings: FinetuneSettings) -> torch.optim.Optimizer:
    """Return AdamW, or bitsandbytes' AdamW with its state in 8 bits.

    Raises:
        UserError: The settings want bitsandbytes, and it is not installed.
    """
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
    """Return the learning-rate schedule: a linear warm-up, then constant or half a cosine."""
    falling = max(1, settings.steps - settings.warmup)

    def cosine(step: int) -> float:
        # The share is computed first. `lr_schedule.cosine` rounds otherwise, which would give other adapters.
        return half_cosine(math.pi * (step / falling))

    return warmup(settings.warmup, constant if settings.schedule == "constant" else cosine)


class Tuner:
    """Trains an adapter.

    A batch is split between processes and, in each process, between passes. Gradients are averaged over all
    of them, so that the result equals that of one pass over the whole batch, except for rounding. All
    processes hold the same weights.

    A step waits for no number from the GPU: losses stay there, and are looked at every few steps. The next
    batch is drawn and copied to the GPU meanwhile.

    Attributes:
        log: For each step whose losses were looked at: its number from 0, the loss, and the loss of each
            part.
        average: Exponential moving average of the adapter's tensors, empty unless `settings.ema` is set.
    """

    def __init__(
        self, model: BaseModel, adapter: Adapter, data: TuningData, accelerator: Accelerator
    ) -> None:
        self.model, self.adapter, self.data, self.accelerator = model, adapter, data, accelerator
        self.settings, self.parameters = data.settings, list(adapter.parameters())
        self.log: list[list[float]] = []
        self.losses = StepLosses()
        optimizer = make_optimizer(adapter, self.settings)
        self.optimizer = accelerator.prepare(optimizer)
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(self.settings))
        self.average: dict[str, Tensor] = {}
        if self.settings.ema is not None:
            self.average = {name: tensor.clone() for name, tensor in adapter.tensors().items()}

    def steps(self) -> Iterator[int]:
        """Train from the step after those of the log to the last, and yield after each how many are done.

        Raises:
            UserError: The loss became NaN or infinite. The message names the first such step.
        """
        steps, device = self.settings.steps, self.accelerator.device
        ahead = 1 if device.type == "cuda" else 0
        first = len(self.log)
        with closing(prefetch(self._shares, range(first, steps), ahead)) as batches:
            for step, shares in enumerate(on_device(batches, device), first):
                self._step(step, shares)
                if (step + 1) % LOOK_EVERY[device.type] == 0 or step + 1 == steps:
                    self.look()
                yield step + 1

    def look(self) -> None:
        """Look at the losses of the steps since the last look, and append them to the log.

        Raises:
            UserError: One of them is NaN or infinite. The message names the first such step.
        """
        looked_at = self.losses.look()
        if found := first_not_finite([(step, losses[:1]) for step, losses in looked_at]):
            raise UserError(f"the loss became {found[1]} at step {found[0]}; lower finetune.learning_rate")
        self.log += [[step, *losses] for step, losses in looked_at]

    @property
    def last_loss(self) -> float:
        """The last loss that was looked at; NaN before the first look."""
        return self.log[-1][1] if self.log else math.nan

    def _shares(self, step: int) -> list[Batch]:
        """Return what this process gets of the batch of `step`: a share for each pass. Runs in any thread."""
        batch, passes = self.data.batch(step), self.settings.gradient_accumulation
        first, shares = self.accelerator.process_index * passes, passes * self.accelerator.num_processes
        own = [batch.share(len(self.data.parts), first + index, shares) for index in range(passes)]
        return pinned(own, self.accelerator.device)

    def _step(self, step: int, shares: list[Batch]) -> None:
        """Train on the batch of `step`, without waiting for a number from the device."""
        parts = self._gradients(shares)
        self.losses.add(step, [reduce(torch.add, parts) / len(parts), *parts])
        self.accelerator.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.optimizer.step()
        self.lr_scheduler.step()
        self._update_average()

    def _gradients(self, shares: list[Batch]) -> list[Tensor]:
        """Compute the gradients of a batch, and return the losses of its parts."""
        accelerator, count = self.accelerator, len(self.data.parts)
        passes = len(shares)
        totals = [torch.zeros((), device=accelerator.device)] * count
        self.optimizer.zero_grad()
        for share in shares:
            self.adapter.set_condition(share.condition)
            with accelerator.autocast():
                parts = losses(self.model, share, count, self.settings.snr_gamma)
            accelerator.backward(reduce(torch.add, parts) / count / passes)
            totals = [total + part.detach() / passes for total, part in zip(totals, parts, strict=True)]
        if accelerator.num_processes == 1:
            return totals
        self._average_gradients()
        return list(accelerator.reduce(torch.stack(totals), "mean"))

    def _average_gradients(self) -> None:
        """Average the gradients over processes, all in one message: an adapter has few."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        flat = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    @torch.no_grad()
    def _update_average(self) -> None:
        """Set average <- decay * average + (1 - decay) * weights. It starts as the initial weights."""
        decay = self.settings.ema
        if decay is not None:
            for name, tensor in self.adapter.tensors().items():
                self.average[name].lerp_(tensor, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the adapter its averaged weights within this context, if there are any."""
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

    def save(self, path: Path) -> None:
        """Write a checkpoint: everything that later steps depend on, and the log.

        Raises:
            UserError: See `look`. Nothing is written.
        """
        self.look()
        tensors = self.adapter.tensors() | {f"ema.{name}": tensor for name, tensor in self.average.items()}
        if self.accelerator.scaler is not None:
            state = self.accelerator.scaler.state_dict()
            tensors |= {
                f"scaler.{name}": torch.tensor(float(value), dtype=torch.float64)
                for name, value in state.items()
            }
        save_checkpoint(path, tensors, self.optimizer, self.log)

    def resume(self, path: Path) -> None:
        """Restore the checkpoint with its log, if there is one."""
        restored = load_checkpoint(path, self.optimizer)
        if restored is None:
            return
        tensors, self.log = restored
        self._set(tensors)
        for name, tensor in self.average.items():
            tensor.copy_(tensors[f"ema.{name}"])
        scaler = self.accelerator.scaler
        if scaler is not None:
            types = {name: type(value) for name, value in scaler.state_dict().items()}
            scaler.load_state_dict(
                {name: convert(tensors[f"scaler.{name}"].item()) for name, convert in types.items()}
            )
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(self.settings), done=len(self.log))
