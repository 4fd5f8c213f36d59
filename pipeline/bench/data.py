"""Measure how fast images are imported and prepared, and in how much memory."""

import io
import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.bench.timing import Log, Measurements, timed
from pipeline.config import resolve_card
from pipeline.data import prepare
from pipeline.data.sources.catalogue import find_folder_card
from pipeline.data.sources.importer import import_folder
from pipeline.planning.kinds.prepare import PrepareParams

CARD = "visda2017"
SIDE = 32
DISTINCT = 64
"""Number of distinct images; each file is one of them."""


def measure(images: int, log: Log) -> Measurements:
    """Measure importing and preparing `images` small JPEG files, each in a process of its own.

    Returns:
        For `import` and `prepare`: `images`, `seconds`, `images_per_second`, and `mebibytes` of peak memory.
    """
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        log(f"write: {images:,} files")
        _write(Path(folder) / "source", images)
        for name, work in (("import", _import), ("prepare", _prepare)):
            log(name)
            measured[name] = _in_a_process(work, Path(folder), images)
    return measured


def described(measured: Measurements) -> str:
    """Describe the measurements, one per line."""
    return "\n".join(
        f"{what:<8} {found['images']:,} images in {found['seconds']:.1f} s: "
        f"{found['images_per_second']:,.0f} per second, at most {found['mebibytes']:.0f} MiB of memory"
        + (" (aim: under 1024)" if what == "prepare" else "")
        for what, found in measured.items()
    )


def _write(folder: Path, images: int) -> None:
    """Write `images` small JPEG files in VisDA's layout, equally many in each class."""
    card, rng, pictures = find_folder_card(CARD), np.random.default_rng(0), []
    for _ in range(DISTINCT):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file, "JPEG")
        pictures.append(file.getvalue())
    places = [folder / domain / name for domain in ("train", "validation") for name in card.classes]
    for place in places:
        place.mkdir(parents=True)
    for number in range(images):
        (places[number % len(places)] / f"{number:07d}.jpg").write_bytes(pictures[number % DISTINCT])


def _in_a_process(work: Callable[[Path], None], folder: Path, images: int) -> dict[str, float]:
    """Measure `work` in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seconds, mebibytes = pool.submit(_measured, work, folder).result()
    return {
        "images": images,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "mebibytes": mebibytes,
    }


def _measured(work: Callable[[Path], None], folder: Path) -> tuple[float, float]:
    """Run `work` in this process; return its seconds and the process's peak resident memory in MiB."""
    os.environ["TERRABENCH_DATA"] = str(folder / "data")
    seconds = timed(lambda: work(folder))
    (peak,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return seconds, int(peak.split()[1]) / 1024


def _import(folder: Path) -> None:
    import_folder(find_folder_card(CARD), folder / "source", lambda text: None)


def _prepare(folder: Path) -> None:
    workspace = folder / "artifact"
    workspace.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # counts differ from the card's
        card = resolve_card(find_folder_card(CARD))
        prepare.run(PrepareParams(card=card), {}, workspace, lambda done, total, what: None)
