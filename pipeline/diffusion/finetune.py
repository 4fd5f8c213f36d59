"""Stage one: fine-tune an adapter for one ordered pair of domains.

Source images stand at t = 0 with their class prompts, target images at t = 1 with one prompt for all, for they have
no labels. A batch holds both, and both halves share their noise and timesteps, so that what differs between them is
the domain alone (Zhuang et al. 2024, section 4.1).
"""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.config import FinetuneParams, FinetuneSettings, prompt
from pipeline.data.domains import load_labelled, load_unlabelled
from pipeline.determinism import reproducible
from pipeline.diffusion.adapters import Adapter, make_adapter
from pipeline.diffusion.base import BaseModel
from pipeline.errors import UserError
from pipeline.seeds import derive
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


class PairData:
    """Latents and prompt embeddings of both domains, computed once, and the batch of any step."""

    def __init__(self, model: BaseModel, params: FinetuneParams, data: Path) -> None:
        source = load_labelled(data, params.pair.source, "train")
        target = load_unlabelled(data, params.pair.target, "train")
        self.settings = params.settings
        self.source, self.target = model.encode(source.images), model.encode(target.images)
        self.labels = torch.from_numpy(source.labels)
        self.prompts = model.embed([prompt(params.settings.source_prompt, w) for w in params.pair.words])
        self.unlabelled = model.embed([params.settings.target_prompt])[0]
        self.timesteps = len(model.alpha_bar)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(latents [2n, ...], prompts [2n, L, D], noise [2n, ...], timesteps [2n]): n of the source, n of the target.

        A function of the seed and the step alone, so that resuming needs no state of a generator.
        """
        settings = self.settings
        n, generator = (
            settings.batch_size,
            torch.Generator().manual_seed(derive(settings.seed, "finetune", step)),
        )
        of_source = torch.randint(len(self.source), (n,), generator=generator)
        of_target = torch.randint(len(self.target), (n,), generator=generator)
        noise = torch.randn(n, *self.source.shape[1:], generator=generator)
        level = torch.rand(n, generator=generator) ** (1 / settings.early_bias)
        timesteps = (level * self.timesteps).long().clamp(max=self.timesteps - 1)
        prompts = self.prompts[self.labels[of_source]]
        dropped = torch.rand(n, generator=generator) < settings.unconditional
        prompts = torch.where(dropped[:, None, None], self.unlabelled, prompts)
        return (
            torch.cat([self.source[of_source], self.target[of_target]]),
            torch.cat([prompts, self.unlabelled.expand(n, -1, -1)]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
        )


def losses(
    model: BaseModel, clean: Tensor, prompts: Tensor, noise: Tensor, timesteps: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean squared errors of the denoiser on the source half and on the target half of a batch."""
    alpha_bar = model.alpha_bar[timesteps][:, None, None, None]
    noisy = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
    output = model.denoiser(noisy, timesteps, encoder_hidden_states=prompts).sample
    each = F.mse_loss(output, model.target(clean, noise, alpha_bar), reduction="none").mean((1, 2, 3))
    source, target = each.chunk(2)
    return source.mean(), target.mean()


def train_adapter(
    model: BaseModel, adapter: Adapter, data: PairData, workspace: Path, progress: Progress
) -> list[list[float]]:
    """Train to the end, from the last checkpoint if there is one. Returns [step, loss, source, target] of each step."""
    settings, state = data.settings, workspace / "scratch" / "checkpoint.safetensors"
    groups = adapter.parameter_groups(settings.learning_rate, settings.middle_lr_factor)
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    n, first, log = settings.batch_size, 0, []
    if state.exists():
        tensors, log = load_checkpoint(state, optimizer)
        first = len(log)
        for name, tensor in adapter.tensors().items():
            tensor.copy_(tensors[name])
    adapter.set_t(torch.cat([torch.zeros(n), torch.ones(n)]))
    for step in range(first, settings.steps):
        source, target = losses(model, *data.batch(step))
        loss = (source + target) / 2
        if not torch.isfinite(loss):
            raise UserError(f"the loss became {loss.item()} at step {step}; lower finetune.learning_rate")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(adapter.parameters()), settings.clip_norm)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * learning_rate_factor(settings, step)
        optimizer.step()
        log.append([step, loss.item(), source.item(), target.item()])
        if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
            save_checkpoint(state, adapter.tensors(), optimizer, log)
        progress(step + 1, settings.steps, f"loss {loss.item():.3f}")
    return log


def run(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make adapter.safetensors and losses.csv (step, loss, source_loss, target_loss)."""
    with reproducible(params.threads):
        model = BaseModel.load(params.base_model)
        data = PairData(model, params, inputs["data"])
        adapter = make_adapter(model.denoiser, params.adapter, params.settings.seed)
        log = train_adapter(model, adapter, data, workspace, progress)
        adapter.save(workspace / "adapter.safetensors")
        rows = [f"{step:.0f},{loss:.6g},{source:.6g},{target:.6g}\n" for step, loss, source, target in log]
        write_atomic(workspace / "losses.csv", "step,loss,source_loss,target_loss\n" + "".join(rows))
