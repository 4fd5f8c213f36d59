"""Glyphs drawn from freely licensed fonts: one character in, one small RGB image out.

Two lists of fonts share no family. ``BENCHMARK_FONTS`` draws the benchmark's synthetic domain;
``GENERIC_FONTS`` draws what the ``mini`` base model is trained on, so that the base model has seen no
image, and no typeface, of the benchmark.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

__all__ = [
    "BENCHMARK_FONTS",
    "GENERIC_FONTS",
    "FontFile",
    "GlyphStyle",
    "colours",
    "font_paths",
    "render",
    "texture",
]

Range = tuple[float, float]

OVERSAMPLING = 2  # images are drawn this many times larger, then averaged down
MASTER = 96  # height in pixels of the outline that every drawing of a glyph starts from
MARGIN = 0.3  # empty border of the master around the glyph, as a fraction of the glyph's box


@dataclass(frozen=True)
class FontFile:
    """One font file inside an installed Python package."""

    family: str
    pip: str  # the name to give to pip
    module: str  # the name to import
    file: str  # path inside the package

    def path(self) -> Path:
        """Where the file lies on this machine."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(
                f"The font {self.family!r} needs the package {self.pip!r}: pip install {self.pip}",
                name=self.module,
            )
        path = Path(next(iter(spec.submodule_search_locations))) / self.file
        if not path.is_file():
            raise FileNotFoundError(
                f"Package {self.pip!r} is installed, but holds no {self.file!r}: reinstall it."
            )
        return path


def _fonts(family: str, pip: str, *names: str, suffix: str = ".ttf") -> tuple[FontFile, ...]:
    module = pip.replace("-", "_")
    return tuple(FontFile(family, pip, module, f"files/{name}{suffix}") for name in names)


def _matplotlib_fonts(family: str, *names: str) -> tuple[FontFile, ...]:
    return tuple(
        FontFile(family, "matplotlib", "matplotlib", f"mpl-data/fonts/ttf/{name}.ttf") for name in names
    )


BENCHMARK_FONTS: tuple[FontFile, ...] = (
    *_fonts("Roboto", "font-roboto", "Roboto-Light", "Roboto-Medium", "Roboto-BlackItalic"),
    *_fonts(
        "Source Serif Pro",
        "font-source-serif-pro",
        "SourceSerifPro-Regular",
        "SourceSerifPro-It",
        "SourceSerifPro-Bold",
    ),
    *_fonts(
        "Hanken Grotesk",
        "font-hanken-grotesk",
        "HankenGrotesk-Regular",
        "HankenGrotesk-BoldItalic",
        suffix=".otf",
    ),
    *_fonts("Caladea", "font-caladea", "Caladea-Regular", "Caladea-BoldItalic"),
)

GENERIC_FONTS: tuple[FontFile, ...] = (
    *_matplotlib_fonts(
        "DejaVu Sans", "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"
    ),
    *_matplotlib_fonts(
        "DejaVu Serif", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"
    ),
    *_matplotlib_fonts("DejaVu Sans Mono", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *_matplotlib_fonts("STIX", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *_matplotlib_fonts("Computer Modern", "cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
    *_fonts(
        "Source Sans Pro",
        "font-source-sans-pro",
        "SourceSansPro-ExtraLight",
        "SourceSansPro-Regular",
        "SourceSansPro-Semibold",
        "SourceSansPro-Black",
        "SourceSansPro-It",
        "SourceSansPro-BoldIt",
    ),
    *_fonts("Manrope", "font-manrope", "Manrope-Light", "Manrope-Regular", "Manrope-ExtraBold"),
    *_fonts("Amatic SC", "font-amatic-sc", "AmaticSC-Regular", "AmaticSC-Bold"),
    *_fonts("Fredoka One", "font-fredoka-one", "FredokaOne-Regular"),
    *_fonts("Intuitive", "font-intuitive", "Intuitive"),
)


def font_paths(fonts: Iterable[FontFile]) -> list[Path]:
    """Locate fonts; raises ModuleNotFoundError naming the pip package of the first that is missing."""
    return [font.path() for font in fonts]


@dataclass(frozen=True)
class GlyphStyle:
    """How glyphs may look. Every range is drawn from uniformly, afresh for each image.

    Lengths are fractions of the image's side, so that one style serves every size.
    """

    rotation: Range = (-8.0, 8.0)  # degrees, anticlockwise
    shear: Range = (-0.15, 0.15)  # horizontal slant per unit of height
    scale: Range = (0.6, 0.8)  # longer side of the glyph's box
    aspect: Range = (0.9, 1.1)  # extra width over height
    shift: Range = (-0.06, 0.06)  # translation, drawn for x and y
    weight: Range = (0.0, 0.0)  # added to the outline on each side; negative thins, but never to nothing
    warp: Range = (0.0, 0.0)  # strength of a smooth elastic distortion, as of handwriting
    blur: Range = (0.0, 0.0)  # standard deviation of a Gaussian blur
    resolution: Range = (1.0, 1.0)  # below 1: reduced to this fraction of its size, then enlarged
    palette: str = "colour"  # "plain": white or grey on black; "colour": any foreground on any background
    grey: Range = (0.75, 1.0)  # brightness of a plain glyph
    inverted: float = 0.0  # probability of a plain glyph dark on light
    background: str = "flat"  # "flat", "gradient" or "texture"
    contrast: float = 0.35  # least difference of luminance between glyph and background, in 0..1
    noise: Range = (0.0, 0.0)  # standard deviation of pixel noise, in 0..1

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
    """Draw one character.

    Equal arguments and an equally seeded ``rng`` give equal pixels.

    Returns:
        uint8 array [size, size, 3].
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
    """A procedural texture: smooth noise over octaves, stripes or checks, in two or three random colours.

    Returns:
        float32 array [size, size, 3] in 0..1.
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
    if rng.random() < 0.5:  # a third colour, so that hue varies apart from brightness
        share = _noise(size, rng, decay=0.4)[..., None] * rng.uniform(0.3, 0.8)
        image = image * (1 - share) + rng.uniform(0, 1, 3) * share
    return image.astype(np.float32)


def _bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _noise(size: int, rng: np.random.Generator, decay: float) -> np.ndarray:
    """Smooth value noise over three octaves, stretched to 0..1: [size, size]."""
    total = np.zeros((size, size), np.float32)
    for octave in range(3):
        cells = min(size, rng.integers(2, 5) * 2**octave)
        grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        total += decay**octave * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, 1e-6)


@lru_cache(maxsize=8192)
def _outline(character: str, font: Path) -> tuple[np.ndarray, float, float, float]:
    """Signed distance to the glyph's outline, positive inside, in units of the longer side of its box.

    Returns:
        float32 [h, w] with a border of MARGIN; width and height of its box (longer side 1); mean half-width of
        a stroke.
    """
    face = ImageFont.truetype(str(font), MASTER)
    left, top, right, bottom = face.getbbox(character)
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
    """Coverage of the glyph in 0..1: float32 [side, side]."""
    distance, width, height, half_width = _outline(character, font)
    scale, aspect = rng.uniform(*style.scale), np.sqrt(rng.uniform(*style.aspect))
    angle, shear = np.deg2rad(rng.uniform(*style.rotation)), rng.uniform(*style.shear)
    shift_x, shift_y = rng.uniform(*style.shift, size=2)
    weight, warp = rng.uniform(*style.weight), rng.uniform(*style.warp)

    # The point of the glyph that lands on each pixel: undo shift, rotation, shear and scale, in this order.
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


LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def colours(side: int, rng: np.random.Generator, style: GlyphStyle) -> tuple[np.ndarray, np.ndarray]:
    """Foreground [3] and background [side, side, 3], in 0..1."""
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
    """The given colour, or else the first drawn that differs enough in luminance from the mean background."""
    for _ in range(32):
        if abs(float((foreground - back) @ LUMINANCE)) >= style.contrast:
            return foreground
        foreground = np.full(3, rng.uniform(0, 1)) if style.palette == "plain" else rng.uniform(0, 1, 3)
    return np.full(3, 1.0 if float(back @ LUMINANCE) < 0.5 else 0.0)
