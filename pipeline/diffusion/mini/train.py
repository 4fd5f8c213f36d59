"""Train the ``mini`` base model from nothing, on a CPU core in about forty minutes.

    python -m pipeline.diffusion.mini.train --work /tmp/mini

Glyphs are drawn (digits and letters, in fonts that no benchmark uses), the autoencoder is trained on them,
its latents are cached, and the denoiser and the text encoder are trained together on the latents. Every
stage leaves its product in the work folder, so the same command continues an interrupted run; equal
arguments give an equal run.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor, nn

from pipeline.core.lr_schedule import Schedule, cosine, schedule_rates, warmup
from pipeline.core.seeds import derive
from pipeline.data.digits.fonts import GENERIC_FONTS, font_paths
from pipeline.data.digits.glyphs import GlyphStyle, render, texture
from pipeline.diffusion.mini import WEIGHTS, build

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTURES = 0.1  # plain textures beside the glyphs, as a fraction of them: for the autoencoder alone
DIGIT_TEMPLATES = ("a {}", "a digit {}", "a number {}", "a photo of a {}")
TEMPLATE_SHARES = (0.85, 0.05, 0.05, 0.05)
UNCONDITIONAL = {"an image": 0.10, "": 0.05}  # replace the prompt this often, to serve guidance
# The last latent is fine detail: next to noise, and, standardised like the others, half of an even loss.
CHANNEL_WEIGHTS = torch.tensor([1.0, 1.0, 1.0, 0.25])[:, None, None]


# Data ---------------------------------------------------------------------------------------------------


def draw_style(rng: np.random.Generator) -> GlyphStyle:
    """About 35 % plain, 45 % coloured on a flat colour, the rest on busy backgrounds, blurred or coarse."""
    hand = {"warp": (0.01, 0.06), "rotation": (-15.0, 15.0), "shear": (-0.3, 0.3), "aspect": (0.75, 1.25)}
    common = {"scale": (0.5, 0.85), "weight": (-0.02, 0.03), "aspect": (0.8, 1.25)}
    kind = rng.choice(
        ["hand", "plain", "flat", "gradient", "texture", "blur", "coarse"],
        p=[0.23, 0.12, 0.45, 0.05, 0.06, 0.04, 0.05],
    )
    if kind == "hand":
        return GlyphStyle(**{**common, **hand}, palette="plain", inverted=0.15, blur=(0.0, 0.015))
    if kind == "plain":
        return GlyphStyle(**common, palette="plain", inverted=0.25, grey=(0.6, 1.0))
    busy = "texture" if kind == "texture" else "gradient" if kind == "gradient" else "flat"
    style = GlyphStyle(**common, background=busy, contrast=0.25)
    if rng.random() < 0.3:
        style = dataclasses.replace(style, **hand)
    if kind in ("blur", "coarse"):
        style = dataclasses.replace(style, palette=str(rng.choice(["plain", "colour"])))
        style = dataclasses.replace(
            style, **({"blur": (0.01, 0.05)} if kind == "blur" else {"resolution": (0.25, 0.6)})
        )
    return style


def draw_glyph(index: int, seed: int, fonts: list[Path]) -> tuple[np.ndarray, int]:
    """The index-th image [32, 32, 3] of the training pool, and its class: 0..9 digits, 10..35 letters."""
    rng = np.random.default_rng(derive(seed, "glyph", index))
    if rng.random() < 0.55:
        label = int(rng.integers(10))
        character = str(label)
    else:
        label = 10 + int(rng.integers(26))
        character = LETTERS[label - 10]
        character = character.upper() if rng.random() < 0.5 else character
    font = fonts[rng.integers(len(fonts))]
    return render(character, font, build.IMAGE_SIZE, rng, draw_style(rng)), label


def _draw_part(task: tuple[range, int]) -> tuple[np.ndarray, np.ndarray]:
    indices, seed = task
    fonts = font_paths(GENERIC_FONTS)
    images, labels = zip(*(draw_glyph(i, seed, fonts) for i in indices), strict=True)
    return np.stack(images), np.array(labels)


def make_pool(count: int, seed: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [count, 32, 32, 3] and classes [count]."""
    parts = [(range(start, min(start + 500, count)), seed) for start in range(0, count, 500)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        drawn = pool.map(_draw_part, parts)
    return np.concatenate([images for images, _ in drawn]), np.concatenate([labels for _, labels in drawn])


def as_input(images: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def draw_prompt(label: int, rng: np.random.Generator) -> str:
    """The words that go with an image of the class."""
    draw = rng.random()
    for prompt, share in UNCONDITIONAL.items():
        if draw < share:
            return prompt
        draw -= share
    if label >= 10:
        return f"a letter {LETTERS[label - 10]}"
    return str(rng.choice(DIGIT_TEMPLATES, p=TEMPLATE_SHARES)).format(build.DIGITS[label])


# Stages -------------------------------------------------------------------------------------------------


def save(state: object, path: Path) -> None:
    """Write whole or not at all."""
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    os.replace(beside, path)


def one_cycle(steps: int) -> Schedule:
    """Rise over the first twentieth of `steps`, then fall to zero along half a cosine."""
    rising = max(1, steps // 20)
    return warmup(rising, cosine(steps - rising))


def steps_from(first: int, last: int, name: str) -> Iterator[tuple[int, dict[str, float]]]:
    """Count steps; what the loop puts into the dictionary is averaged and printed every 50."""
    started, seen = time.perf_counter(), []
    for step in range(first, last):
        values: dict[str, float] = {}
        yield step, values
        seen.append(values)
        if len(seen) == 50 or step + 1 == last:
            means = "  ".join(f"{key} {np.mean([v[key] for v in seen]):.4f}" for key in values)
            pace = (time.perf_counter() - started) / (step + 1 - first)
            left = pace * (last - step - 1) / 60
            print(f"{name} {step + 1}/{last}  {means}  {pace:.2f} s/step  {left:.0f} min left", flush=True)
            seen.clear()


def train_vae(images: np.ndarray, work: Path, steps: int, batch: int, seed: int) -> AutoencoderKL:
    """L1 with a weak pull of the latents towards a unit Gaussian, which keeps them smooth."""
    torch.manual_seed(derive(seed, "vae"))
    vae = build.make_vae()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    path, first = work / "vae.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    lr_scheduler = schedule_rates(optimiser, one_cycle(steps), first)
    for step, values in steps_from(first, steps, "vae"):
        rng = np.random.default_rng(derive(seed, "vae", step))
        torch.manual_seed(derive(seed, "vae", step))
        target = as_input(images[rng.integers(len(images), size=batch)])
        posterior = vae.encode(target).latent_dist
        difference = vae.decode(posterior.sample()).sample - target
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = difference.abs().mean() + difference.square().mean() + 1e-6 * kl
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        lr_scheduler.step()
        values.update(l1=difference.abs().mean().item(), kl=kl.item())
        if (step + 1) % 200 == 0 or step + 1 == steps:
            save({"vae": vae.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, path)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray) -> Tensor:
    """Latents, float32 [n, 4, 16, 16], of which each channel has mean 0 and variance 1.

    For that the layers around the latents, which are linear, are changed: what they decode to stays the same.
    """
    parts = np.array_split(images, len(images) // 128 + 1)
    latents = torch.cat([vae.encode(as_input(part)).latent_dist.mode() for part in parts])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out_of, count = vae.quant_conv, vae.post_quant_conv, build.LATENT_CHANNELS
    into.weight[:count] /= std[:, None, None, None]
    into.bias[:count] = (into.bias[:count] - mean) / std
    into.bias[count:] -= 2 * std.log()  # the logarithm of the variance
    out_of.bias += (out_of.weight[:, :, 0, 0] * mean).sum(1)
    out_of.weight *= std[:, None, None]
    vae.register_to_config(scaling_factor=1.0)
    return (latents - mean[:, None, None]) / std[:, None, None]


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """Quality of reconstruction in decibels, for each uint8 image [32, 32, 3]."""
    source = as_input(images)
    difference = vae.decode(vae.encode(source).latent_dist.mode()).sample.clamp(-1, 1) - source
    return (10 * torch.log10(4.0 / difference.square().mean((1, 2, 3)).clamp(min=1e-8))).numpy()


def train_denoiser(
    vae: AutoencoderKL,
    latents: Tensor,
    labels: np.ndarray,
    work: Path,
    out: Path,
    arguments: argparse.Namespace,
) -> StableDiffusionPipeline:
    """Text encoder and U-Net together; what is kept is the moving average of their weights."""
    seed, steps, batch = arguments.seed, arguments.steps, arguments.batch
    torch.manual_seed(derive(seed, "denoiser"))
    tokenizer, scheduler = build.make_tokenizer(), build.make_scheduler()
    model = nn.ModuleDict(
        {"text_encoder": build.make_text_encoder(tokenizer), "unet": build.make_unet()}
    ).train()
    model["unet"].to(memory_format=torch.channels_last)  # by a third faster on one core
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    path, first = work / "denoiser.pt", 0
    digits = np.flatnonzero(labels < len(build.DIGITS))
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average, first = state["average"], state["step"]
    lr_scheduler = schedule_rates(optimiser, one_cycle(steps), first)

    for step, values in steps_from(first, steps, "denoiser"):
        rng = np.random.default_rng(derive(seed, "denoiser", step))
        generator = torch.Generator().manual_seed(derive(seed, "denoiser", step))
        # Most of a batch is of digits alone, so that nine of ten are digits.
        free = batch // 4
        chosen = np.concatenate([rng.choice(digits, batch - free), rng.integers(len(latents), size=free)])
        prompts = [draw_prompt(int(label), rng) for label in labels[chosen]]
        tokens = tokenizer(
            prompts, padding="max_length", max_length=build.TEXT_LENGTH, return_tensors="pt"
        ).input_ids
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=generator)
        # One time per equal slice: less variance than independent draws. The square root draws the noisy ones more
        # often: there it is decided which glyph is drawn, and in which colours.
        level = ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch).sqrt()
        times = (1000 * level).long().clamp(max=999)[torch.randperm(batch, generator=generator)]
        text = model["text_encoder"](tokens).last_hidden_state
        predicted = model["unet"](scheduler.add_noise(clean, noise, times), times, text).sample
        error = (predicted - scheduler.get_velocity(clean, noise, times)).square()
        loss = (CHANNEL_WEIGHTS * error).mean() / CHANNEL_WEIGHTS.mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        lr_scheduler.step()
        decay = min(0.995, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value, 1.0 - decay)
        values["loss"] = loss.item()
        if (step + 1) % 200 == 0 or step + 1 == steps:
            progress = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            save({**progress, "average": average, "step": step + 1}, path)
        if (step + 1) % 300 == 0 and step + 1 < steps:
            export(_averaged(vae, tokenizer, average), out)
    pipe = _averaged(vae, tokenizer, average)
    export(pipe, out)
    return pipe


def _averaged(vae: AutoencoderKL, tokenizer: object, average: dict[str, Tensor]) -> StableDiffusionPipeline:
    model = nn.ModuleDict(
        {"text_encoder": build.make_text_encoder(tokenizer), "unet": build.make_unet()}
    ).eval()
    model.load_state_dict(average)
    return build.assemble(vae, model["text_encoder"], tokenizer, model["unet"])


def export(pipe: StableDiffusionPipeline, out: Path) -> None:
    """Replace the folder's contents, all at once; half precision, as pictures of eight bits need no more."""
    beside, before = out.with_name(out.name + ".part"), out.with_name(out.name + ".before")
    for folder in (beside, before):
        shutil.rmtree(folder, ignore_errors=True)
    # The text encoder stays in single precision: transformers, unlike diffusers, loads what it finds.
    parts = dict(pipe.components, vae=copy.deepcopy(pipe.vae).half(), unet=copy.deepcopy(pipe.unet).half())
    build.assemble(*(parts[name] for name in ("vae", "text_encoder", "tokenizer", "unet"))).save_pretrained(
        beside
    )
    if (out / "README.md").exists():
        shutil.copy(out / "README.md", beside / "README.md")
    if out.exists():
        os.replace(out, before)
    os.replace(beside, out)
    shutil.rmtree(before, ignore_errors=True)
    print(f"wrote {out}", flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.diffusion.mini.train",
        description=__doc__.split("\n\n")[0],
        epilog=(
            "Example: python -m pipeline.diffusion.mini.train --work /tmp/mini\n"
            "Stopped? Run the same command again: it continues from the last 200 steps.\n"
            "To begin anew, delete the work folder."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--work",
        type=Path,
        required=True,
        help="folder for the drawn images and the checkpoints (about 400 MB)",
    )
    add(
        "--out",
        type=Path,
        default=WEIGHTS,
        help="folder to write the finished model into (default: %(default)s)",
    )
    add("--images", type=int, default=36000, help="glyphs to draw (default: %(default)s)")
    add("--vae-steps", type=int, default=900, help="steps for the autoencoder (default: %(default)s)")
    add("--vae-batch", type=int, default=16, help="images per autoencoder step (default: %(default)s)")
    add("--steps", type=int, default=4000, help="steps for the denoiser (default: %(default)s)")
    add("--batch", type=int, default=40, help="images per denoiser step (default: %(default)s)")
    add(
        "--rate", type=float, default=1.5e-3, help="peak learning rate of the denoiser (default: %(default)s)"
    )
    add(
        "--workers",
        type=int,
        default=1,
        help="processes that draw, and threads that train (default: %(default)s; two gain a tenth)",
    )
    add("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Draw, train, export."""
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.workers)

    drawn = options.work / "pool.npz"
    if not drawn.exists():
        started = time.perf_counter()
        images, labels = make_pool(options.images, options.seed, options.workers)
        beside = drawn.with_suffix(".part")
        with beside.open("wb") as file:
            np.savez(file, images=images, labels=labels)
        os.replace(beside, drawn)
        print(f"drew {len(images)} glyphs in {time.perf_counter() - started:.0f} s", flush=True)
    with np.load(drawn) as pool:
        images, labels = pool["images"], pool["labels"]

    rng = np.random.default_rng(derive(options.seed, "textures"))
    plain = np.stack([texture(build.IMAGE_SIZE, rng) for _ in range(int(TEXTURES * len(images)))])
    everything = np.concatenate([images, (plain * 255).astype(np.uint8)])
    vae = train_vae(everything, options.work, options.vae_steps, options.vae_batch, options.seed)
    print(
        f"vae: {psnr(vae, images[:512]).mean():.1f} dB on glyphs, "
        f"{psnr(vae, everything[-512:]).mean():.1f} dB on textures"
    )
    latents = encode(vae, images)
    print(f"vae with standardised latents: {psnr(vae, images[:512]).mean():.1f} dB on glyphs", flush=True)
    train_denoiser(vae, latents, labels, options.work, options.out, options)


if __name__ == "__main__":
    main()
