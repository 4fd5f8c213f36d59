"""`bench data`: how fast images are imported and prepared, and in how much memory."""

import io
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import read_card, resolve_card
from pipeline.data import prepare
from pipeline.data.sources.importer import import_folder
from pipeline.planning.kinds.prepare import PrepareParams

CARD = "visda2017"
SIDE = 32
DISTINCT = 64
"""So many pictures there are; each file is one of them."""

Measured = dict[str, dict[str, float]]

Say = Callable[[str], None]
"""Takes a line about what is under way."""


def measure(images: int, say: Say) -> Measured:
    """Seconds, images a second and the most memory (MiB) of importing and of preparing `images` images."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        say(f"write: {images:,} files")
        _write(Path(folder) / "source", images)
        for name, work in (("import", _import), ("prepare", _prepare)):
            say(name)
            measured[name] = _in_a_process(work, Path(folder), images)
    return measured


def described(measured: Measured) -> str:
    """The measurements for people, a line each."""
    return "\n".join(
        f"{what:<8} {found['images']:,} images in {found['seconds']:.1f} s: {found['images_per_second']:,.0f} a second, at "
        f"most {found['mebibytes']:.0f} MiB of memory" + (" (aim: under 1024)" if what == "prepare" else "")
        for what, found in measured.items()
    )


def _write(folder: Path, images: int) -> None:
    """`images` small JPEG files in VisDA's layout, as many in each class."""
    card, rng, pictures = read_card(CARD), np.random.default_rng(0), []
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
    """What `work` takes, in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seconds, mebibytes = pool.submit(_measured, work, folder).result()
    return {
        "images": images,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "mebibytes": mebibytes,
    }


def _measured(work: Callable[[Path], None], folder: Path) -> tuple[float, float]:
    """The seconds that `work` takes in this process, and the most memory that the process had resident, in MiB."""
    os.environ["TERRABENCH_DATA"] = str(folder / "data")
    started = time.perf_counter()
    work(folder)
    seconds = time.perf_counter() - started
    (peak,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return seconds, int(peak.split()[1]) / 1024


def _import(folder: Path) -> None:
    import_folder(read_card(CARD), folder / "source", lambda text: None)


def _prepare(folder: Path) -> None:
    workspace = folder / "artifact"
    workspace.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of counts that are not the card's
        card = resolve_card(read_card(CARD))
        prepare.run(PrepareParams(card=card), {}, workspace, lambda done, total, what: None)
