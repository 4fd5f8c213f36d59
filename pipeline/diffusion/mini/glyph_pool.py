"""Training images of ``mini`` and their prompts: digits and letters in fonts that no benchmark uses."""

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.core.seeds import derive
from pipeline.data.digits.fonts import GENERIC_FONTS, font_paths
from pipeline.data.digits.glyphs import GlyphStyle, render
from pipeline.diffusion.mini.build import DIGITS, IMAGE_SIZE

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGIT_TEMPLATES = ("a {}", "a digit {}", "a number {}", "a photo of a {}")
TEMPLATE_SHARES = (0.85, 0.05, 0.05, 0.05)
UNCONDITIONAL = {"an image": 0.10, "": 0.05}
"""Prompts without a class, with the share of images that get them. Classifier-free guidance needs them."""


def draw_style(rng: np.random.Generator) -> GlyphStyle:
    """Draw a style: about 35 % plain, 45 % coloured on a flat colour, the rest busy, blurred or coarse."""
    hand: dict[str, Any] = {
        "warp": (0.01, 0.06),
        "rotation": (-15.0, 15.0),
        "shear": (-0.3, 0.3),
        "aspect": (0.75, 1.25),
    }
    common: dict[str, Any] = {"scale": (0.5, 0.85), "weight": (-0.02, 0.03), "aspect": (0.8, 1.25)}
    kind = rng.choice(
        ["hand", "plain", "flat", "gradient", "texture", "blur", "coarse"],
        p=[0.23, 0.12, 0.45, 0.05, 0.06, 0.04, 0.05],
    )
    if kind == "hand":
        return GlyphStyle(**(common | hand), palette="plain", inverted=0.15, blur=(0.0, 0.015))
    if kind == "plain":
        return GlyphStyle(**common, palette="plain", inverted=0.25, grey=(0.6, 1.0))
    background: Literal["flat", "gradient", "texture"] = "flat"
    if kind in ("texture", "gradient"):
        background = "texture" if kind == "texture" else "gradient"
    style = GlyphStyle(**common, background=background, contrast=0.25)
    if rng.random() < 0.3:
        style = replace(style, **hand)
    if kind in ("blur", "coarse"):
        palette = rng.choice(["plain", "colour"])
        style = replace(style, palette="plain" if palette == "plain" else "colour")
        style = (
            replace(style, blur=(0.01, 0.05)) if kind == "blur" else replace(style, resolution=(0.25, 0.6))
        )
    return style


def draw_glyph(index: int, seed: int, fonts: list[Path]) -> tuple[np.ndarray, int]:
    """Return the image [32, 32, 3] at `index` of the pool, and its class: digits are 0..9, letters 10..35."""
    rng = np.random.default_rng(derive(seed, "glyph", index))
    if rng.random() < 0.55:
        label = int(rng.integers(10))
        character = str(label)
    else:
        label = 10 + int(rng.integers(26))
        character = LETTERS[label - 10]
        character = character.upper() if rng.random() < 0.5 else character
    font = fonts[rng.integers(len(fonts))]
    return render(character, font, IMAGE_SIZE, rng, draw_style(rng)), label


def _draw_part(task: tuple[range, int]) -> tuple[np.ndarray, np.ndarray]:
    indices, seed = task
    fonts = font_paths(GENERIC_FONTS)
    images, labels = zip(*(draw_glyph(i, seed, fonts) for i in indices), strict=True)
    return np.stack(images), np.array(labels)


def make_pool(count: int, seed: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the pool in `workers` processes.

    Returns:
        Images uint8 [count, 32, 32, 3], and classes [count].
    """
    parts = [(range(start, min(start + 500, count)), seed) for start in range(0, count, 500)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        drawn = pool.map(_draw_part, parts)
    return np.concatenate([images for images, _ in drawn]), np.concatenate([labels for _, labels in drawn])


def as_input(images: np.ndarray) -> Tensor:
    """Convert uint8 [n, h, w, 3] to float32 [n, 3, h, w] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def draw_prompt(label: int, rng: np.random.Generator) -> str:
    """Draw the prompt of an image of the class `label`."""
    draw = rng.random()
    for prompt, share in UNCONDITIONAL.items():
        if draw < share:
            return prompt
        draw -= share
    if label >= 10:
        return f"a letter {LETTERS[label - 10]}"
    return str(rng.choice(DIGIT_TEMPLATES, p=TEMPLATE_SHARES)).format(DIGITS[label])
