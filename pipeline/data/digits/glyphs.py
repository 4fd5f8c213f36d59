"""Draw glyphs: one character and one font in, one small RGB image out."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Range = tuple[float, float]

OVERSAMPLING = 2
"""Factor by which images are drawn larger, then averaged down."""

OUTLINE_HEIGHT = 96
"""Height in pixels at which the outline of a glyph is computed; every drawing resamples it."""

MARGIN = 0.3
"""Empty border around an outline, as a fraction of the longer side of the glyph's box."""

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in the luminance of a colour (ITU-R BT.601)."""


@dataclass(frozen=True)
class GlyphStyle:
    """The look of glyphs: ranges from which each image draws its own values uniformly.

    Lengths are fractions of the image's side, so one style serves every size.

    Attributes:
        rotation: Angle in degrees, anticlockwise.
        shear: Horizontal slant per unit of height.
        scale: Longer side of the glyph's box.
        aspect: Ratio of width to height, relative to the font's own.
        shift: Translation, drawn separately for x and y.
        weight: Width added to the outline on each side; negative values thin it, but never to nothing.
        warp: Strength of a smooth elastic distortion that resembles handwriting.
        blur: Standard deviation of a Gaussian blur.
        resolution: Below 1, the image is reduced to this fraction of its size and enlarged again.
        palette: `plain`: white or grey on black; `colour`: any foreground on any background.
        grey: Brightness of a plain glyph, in 0..1.
        inverted: Probability that a plain glyph is dark on light.
        background: The background's pattern.
        contrast: Minimum difference in luminance between glyph and background, in 0..0.45.
        noise: Standard deviation of pixel noise, in 0..1.
    """

    rotation: Range = (-8.0, 8.0)
    shear: Range = (-0.15, 0.15)
    scale: Range = (0.6, 0.8)
    aspect: Range = (0.9, 1.1)
    shift: Range = (-0.06, 0.06)
    weight: Range = (0.0, 0.0)
    warp: Range = (0.0, 0.0)
    blur: Range = (0.0, 0.0)
    resolution: Range = (1.0, 1.0)
    palette: Literal["plain", "colour"] = "colour"
    grey: Range = (0.75, 1.0)
    inverted: float = 0.0
    background: Literal["flat", "gradient", "texture"] = "flat"
    contrast: float = 0.35
    noise: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.palette not in ("plain", "colour"):
            raise ValueError(f"palette is 'plain' or 'colour', not {self.palette!r}")
        if self.background not in ("flat", "gradient", "texture"):
            raise ValueError(f"background is 'flat', 'gradient' or 'texture', not {self.background!r}")
        if not 0.0 <= self.contrast <= 0.45:
            raise ValueError(
                f"contrast lies in 0..0.45, so that a mid-grey background can meet it; got {self.contrast}"
            )


def render(character: str, font: Path, size: int, rng: np.random.Generator, style: GlyphStyle) -> np.ndarray:
    """Draw one character; equal arguments and an equally seeded `rng` give equal pixels.

    Returns:
        uint8 [size, size, 3].
    """
    side = size * OVERSAMPLING
    mask = _mask(character, font, side, rng, style)[..., None]
    foreground, background = colours(side, rng, style)
    image = background * (1.0 - mask) + foreground * mask
    blur = rng.uniform(*style.blur)
    if blur > 0.0:
        image = ndimage.gaussian_filter(image, (blur * side, blur * side, 0), mode="nearest")
    image = image.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3).mean((1, 3))
    coarse = max(4, round(size * rng.uniform(*style.resolution)))
    if coarse < size:
        small = Image.fromarray(_bytes(image)).resize((coarse, coarse), Image.Resampling.BOX)
        image = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32) / 255.0
    noise = rng.uniform(*style.noise)
    if noise > 0.0:
        image = image + noise * rng.standard_normal(image.shape)
    return _bytes(image)


def texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a procedural texture of stripes, checks or smooth noise, in two or three random colours.

    Returns:
        float32 [size, size, 3] in 0..1.
    """
    kind = rng.integers(4)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle, period, phase = rng.uniform(0, np.pi), rng.uniform(0.12, 0.6), rng.uniform(0, 2 * np.pi, 2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == 0:  # stripes
        field = 0.5 + 0.5 * np.clip(rng.uniform(1, 3) * np.sin(2 * np.pi * u / period + phase[0]), -1, 1)
    elif kind == 1:  # checks
        waves = np.sin(2 * np.pi * u / period + phase[0]) * np.sin(2 * np.pi * v / period + phase[1])
        field = 0.5 + 0.5 * np.clip(rng.uniform(1, 4) * waves, -1, 1)
    else:  # noise
        field = _noise(size, rng, decay=rng.uniform(0.4, 0.8))
    low, high = rng.uniform(0, 1, (2, 3))
    image = low + (high - low) * field[..., None]
    if rng.random() < 0.5:  # a third colour lets hue vary independently of brightness
        share = _noise(size, rng, decay=0.4)[..., None] * rng.uniform(0.3, 0.8)
        image = image * (1 - share) + rng.uniform(0, 1, 3) * share
    return image.astype(np.float32)


def _bytes(image: np.ndarray) -> np.ndarray:
    """Round an image in 0..1 to uint8."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _noise(size: int, rng: np.random.Generator, decay: float) -> np.ndarray:
    """Draw smooth value noise over three octaves, stretched to 0..1: float32 [size, size]."""
    total = np.zeros((size, size), np.float32)
    for octave in range(3):
        cells = min(size, rng.integers(2, 5) * 2**octave)
        grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        total += decay**octave * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, 1e-6)


@lru_cache(maxsize=8192)
def _outline(character: str, font: Path) -> tuple[np.ndarray, float, float, float]:
    """Compute the signed distance to the glyph's outline, in units of the longer side of the glyph's box.

    Returns:
        The distance, positive inside, float32 [h, w] with a border of MARGIN; the width and the height of the
        box (the longer one is 1); and the mean half-width of a stroke.
    """
    face = ImageFont.truetype(str(font), OUTLINE_HEIGHT)
    left, top, right, bottom = map(int, face.getbbox(character))
    if right <= left or bottom <= top:
        raise ValueError(f"Font {font.name} draws nothing for {character!r}.")
    longer = max(right - left, bottom - top)
    border = round(MARGIN * longer)
    canvas = Image.new("L", (right - left + 2 * border, bottom - top + 2 * border))
    ImageDraw.Draw(canvas).text((border - left, border - top), character, fill=255, font=face)
    inside = np.asarray(canvas) > 127
    within = ndimage.distance_transform_edt(inside)
    distance = np.where(inside, within - 0.5, 0.5 - ndimage.distance_transform_edt(~inside)) / longer
    edge = max(1, int((within[inside] <= 1.0).sum()))
    half_width = float(inside.sum()) / edge / longer  # area over perimeter
    return distance.astype(np.float32), (right - left) / longer, (bottom - top) / longer, half_width


def _mask(character: str, font: Path, side: int, rng: np.random.Generator, style: GlyphStyle) -> np.ndarray:
    """Draw the share of each pixel that the glyph covers, in 0..1: float32 [side, side]."""
    distance, width, height, half_width = _outline(character, font)
    scale, aspect = rng.uniform(*style.scale), np.sqrt(rng.uniform(*style.aspect))
    angle, shear = np.deg2rad(rng.uniform(*style.rotation)), rng.uniform(*style.shear)
    shift_x, shift_y = rng.uniform(*style.shift, size=2)
    weight, warp = rng.uniform(*style.weight), rng.uniform(*style.warp)

    # For each pixel, find its point of the glyph: undo shift, rotation, shear and scale, in this order.
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    x, y = np.meshgrid(centres - shift_x, centres - shift_y)
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    x = x + shear * y
    x, y = x / (scale * aspect), y * aspect / scale
    if warp > 0.0:
        grids = rng.standard_normal((2, 4, 4)).astype(np.float32)
        bend = [np.asarray(Image.fromarray(g).resize((side, side), Image.Resampling.BICUBIC)) for g in grids]
        x, y = x + warp * bend[0], y + warp * bend[1]

    border = MARGIN * max(width, height)
    rows = (y + height / 2 + border) / (height + 2 * border) * distance.shape[0] - 0.5
    columns = (x + width / 2 + border) / (width + 2 * border) * distance.shape[1] - 0.5
    drawn = ndimage.map_coordinates(distance, [rows, columns], order=1, mode="constant", cval=-1.0)
    grown = max(weight / scale, -0.5 * half_width)
    return np.clip((drawn + grown) * scale * side + 0.5, 0.0, 1.0).astype(np.float32)


def colours(side: int, rng: np.random.Generator, style: GlyphStyle) -> tuple[np.ndarray, np.ndarray]:
    """Draw the glyph's colour, float32 [3], and the background, float32 [side, side, 3], both in 0..1."""
    if style.palette == "plain":
        foreground, back = np.full(3, rng.uniform(*style.grey)), np.zeros(3)
        if rng.random() < style.inverted:
            foreground, back = 1.0 - foreground, 1.0 - back
    else:
        back, foreground = rng.uniform(0, 1, (2, 3))
    if style.background == "texture":
        background = texture(side, rng)
    elif style.background == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.arange(side, dtype=np.float32) / side - 0.5
        ramp = 0.5 + 0.7 * (ramp[None, :] * np.cos(angle) + ramp[:, None] * np.sin(angle))
        background = back + (rng.uniform(0, 1, 3) - back) * np.clip(ramp, 0, 1)[..., None]
    else:
        background = np.broadcast_to(back, (side, side, 3))
    if style.palette == "colour" or style.background != "flat":
        foreground = _contrasting(foreground, background.mean((0, 1)), rng, style)
    return foreground.astype(np.float32), background.astype(np.float32)


def _contrasting(
    foreground: np.ndarray, back: np.ndarray, rng: np.random.Generator, style: GlyphStyle
) -> np.ndarray:
    """Redraw `foreground` until its luminance differs enough from that of `back`, the mean background."""
    for _ in range(32):
        if abs(float((foreground - back) @ LUMINANCE)) >= style.contrast:
            return foreground
        foreground = np.full(3, rng.uniform(0, 1)) if style.palette == "plain" else rng.uniform(0, 1, 3)
    return np.full(3, 1.0 if float(back @ LUMINANCE) < 0.5 else 0.0)
