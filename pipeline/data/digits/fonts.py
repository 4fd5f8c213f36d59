"""The fonts of the digits benchmark and of the `mini` base model, all from installed packages.

`BENCHMARK_FONTS` draws the benchmark's synthetic domain; `GENERIC_FONTS` draws what the `mini` base model is
trained on. The two lists share no family, so the base model has seen no image and no typeface of the
benchmark.
"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FontFile:
    """One font file inside an installed Python package.

    Attributes:
        family: The name of the typeface.
        pip: The package's name for pip.
        module: The package's name for import.
        file: The font's path inside the package.
    """

    family: str
    pip: str
    module: str
    file: str

    def path(self) -> Path:
        """Locate the file on this machine.

        Raises:
            ModuleNotFoundError: The package is not installed.
            FileNotFoundError: The package does not contain the file.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(
                f"The font {self.family!r} needs the package {self.pip!r}: pip install {self.pip}",
                name=self.module,
            )
        path = Path(next(iter(spec.submodule_search_locations))) / self.file
        if not path.is_file():
            raise FileNotFoundError(
                f"Package {self.pip!r} is installed but does not contain {self.file!r}: reinstall it."
            )
        return path


def font_paths(fonts: Iterable[FontFile]) -> list[Path]:
    """Locate `fonts`; raise ModuleNotFoundError with the pip package of the first font that is missing."""
    return [font.path() for font in fonts]


def _fonts(family: str, pip: str, *names: str, suffix: str = ".ttf") -> tuple[FontFile, ...]:
    """List fonts of a `font-…` package."""
    module = pip.replace("-", "_")
    return tuple(FontFile(family, pip, module, f"files/{name}{suffix}") for name in names)


def _matplotlib_fonts(family: str, *names: str) -> tuple[FontFile, ...]:
    """List fonts that matplotlib ships."""
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
