"""The denoiser and the text encoder of ``mini``: their training together, and the export of the model."""

import copy
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.lr_schedule import schedule_rates
from pipeline.core.seeds import derive
from pipeline.diffusion.mini import build
from pipeline.diffusion.mini.glyph_pool import draw_prompt
from pipeline.diffusion.mini.loop import CHECKPOINT_EVERY, one_cycle, save, steps_from

EXPORT_EVERY = 300
"""Steps after which the unfinished model is exported."""

TIMESTEPS = 1000

CHANNEL_WEIGHTS = torch.tensor([1.0, 1.0, 1.0, 0.25])[:, None, None]
"""Weights of the latent channels in the loss. The last is fine detail, close to noise, but standardised."""


@dataclass(frozen=True)
class DenoiserSettings:
    """The settings of a training.

    Attributes:
        steps: Number of steps.
        batch: Images in a step.
        rate: Peak learning rate.
        seed: Seed of everything.
    """

    steps: int
    batch: int
    rate: float
    seed: int


@dataclass(frozen=True)
class DenoiserBatch:
    """Latents [n, 4, 16, 16], their noise, timesteps [n] and prompts."""

    clean: Tensor
    noise: Tensor
    timesteps: Tensor
    prompts: list[str]


def make_networks(tokenizer: Any) -> nn.ModuleDict:
    """Return the text encoder and the denoiser, initialised in this order from the global generator."""
    text_encoder = build.make_text_encoder(tokenizer)
    unet: Any = build.make_unet()
    return nn.ModuleDict({"text_encoder": text_encoder, "unet": unet})


def draw_batch(latents: Tensor, labels: np.ndarray, settings: DenoiserSettings, step: int) -> DenoiserBatch:
    """Draw the batch of `step`. Three quarters of it are digits; the rest is of any class."""
    rng = np.random.default_rng(derive(settings.seed, "denoiser", step))
    generator = torch.Generator().manual_seed(derive(settings.seed, "denoiser", step))
    batch, digits = settings.batch, np.flatnonzero(labels < len(build.DIGITS))
    free = batch // 4
    chosen = np.concatenate([rng.choice(digits, batch - free), rng.integers(len(latents), size=free)])
    prompts = [draw_prompt(int(label), rng) for label in labels[chosen]]
    clean = latents[chosen]
    noise = torch.randn(clean.shape, generator=generator)
    # One noise level from each of `batch` equal slices: this varies less than independent draws. The square
    # root favours the noisy levels, which decide on the glyph and its colours.
    level = ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch).sqrt()
    timesteps = (TIMESTEPS * level).long().clamp(max=TIMESTEPS - 1)
    return DenoiserBatch(clean, noise, timesteps[torch.randperm(batch, generator=generator)], prompts)


def train_denoiser(
    vae: Any, latents: Tensor, labels: np.ndarray, work: Path, out: Path, settings: DenoiserSettings
) -> Any:
    """Train the text encoder and the denoiser together, and export the moving average of their weights.

    The checkpoint denoiser.pt in `work` is resumed if it exists.

    Args:
        vae: The trained autoencoder.
        latents: [N, 4, 16, 16].
        labels: Their classes [N].
        work: Folder of the checkpoint.
        out: Folder of the exported model.
        settings: Settings of the training.

    Returns:
        The StableDiffusionPipeline that was exported.
    """
    torch.manual_seed(derive(settings.seed, "denoiser"))
    tokenizer, noising = build.make_tokenizer(), _noising()
    model = make_networks(tokenizer).train()
    model["unet"].to(memory_format=torch.channels_last)  # a third faster on one core
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    path, first = work / "denoiser.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, first = state["average"], state["step"]
    schedule = schedule_rates(optimizer, one_cycle(settings.steps), done=first)
    for step, values in steps_from(first, settings.steps, "denoiser"):
        loss = _loss(model, tokenizer, noising, draw_batch(latents, labels, settings, step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        _update(average, model, decay=min(0.995, (step + 1) / (step + 10)))
        values["loss"] = loss.item()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == settings.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save({**state, "average": average, "step": step + 1}, path)
        if (step + 1) % EXPORT_EVERY == 0 and step + 1 < settings.steps:
            export(_averaged(vae, tokenizer, average), out)
    pipe = _averaged(vae, tokenizer, average)
    export(pipe, out)
    return pipe


def _noising() -> Any:
    """Return the scheduler, whose formulas of noising diffusers' type hints hide."""
    return build.make_scheduler()


def _loss(model: nn.ModuleDict, tokenizer: Any, noising: Any, batch: DenoiserBatch) -> Tensor:
    """Return the weighted squared error of the predicted velocity."""
    tokens = tokenizer(
        batch.prompts, padding="max_length", max_length=build.TEXT_LENGTH, return_tensors="pt"
    ).input_ids
    text = model["text_encoder"](tokens).last_hidden_state
    noisy = noising.add_noise(batch.clean, batch.noise, batch.timesteps)
    predicted = model["unet"](noisy, batch.timesteps, text).sample
    error = (predicted - noising.get_velocity(batch.clean, batch.noise, batch.timesteps)).square()
    return (CHANNEL_WEIGHTS * error).mean() / CHANNEL_WEIGHTS.mean()


@torch.no_grad()
def _update(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Set average <- decay * average + (1 - decay) * weights."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1.0 - decay)


def _averaged(vae: Any, tokenizer: Any, average: dict[str, Tensor]) -> Any:
    """Return a pipeline with the averaged weights."""
    model: Any = make_networks(tokenizer).eval()
    model.load_state_dict(average)
    return build.assemble(vae, model["text_encoder"], tokenizer, model["unet"])


def export(pipe: Any, out: Path) -> None:
    """Replace the contents of the folder `out` by the pipeline, all at once.

    The VAE and the denoiser are written in half precision, which suffices for images of eight bits. The text
    encoder stays in single precision, because transformers, unlike diffusers, loads weights in the precision
    of the file.
    """
    part, before = out.with_name(out.name + ".part"), out.with_name(out.name + ".before")
    for folder in (part, before):
        shutil.rmtree(folder, ignore_errors=True)
    vae, unet = copy.deepcopy(pipe.vae).half(), copy.deepcopy(pipe.unet).half()
    exported: Any = build.assemble(vae, pipe.text_encoder, pipe.tokenizer, unet)
    exported.save_pretrained(part)
    if (out / "README.md").exists():
        shutil.copy(out / "README.md", part / "README.md")
    if out.exists():
        os.replace(out, before)
    os.replace(part, out)
    shutil.rmtree(before, ignore_errors=True)
    print(f"wrote {out}", flush=True)
