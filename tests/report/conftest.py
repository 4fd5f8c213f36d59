"""Records and artifacts of the small suite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.report import records
from pipeline.report.plots import style
from tests.report.report_samples import CLASSES, GRID, make_row


@pytest.fixture(autouse=True)
def quick_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """PDFs draw their letters, because embedding fonts takes most of a figure's time (see test_write)."""
    monkeypatch.setitem(style._STYLE, "pdf.fonttype", 3)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    shares = {"per_class": [10.0, 20.0, 30.0, 40.0, 50.0]}
    return [
        make_row(task, name, seed, pair[seed], **shares)
        for (name, task), pair in GRID.items()
        for seed in (0, 1)
    ]


@pytest.fixture
def frame(rows: list[dict[str, Any]], tmp_path: Path) -> pd.DataFrame:
    records.write(tmp_path / "whole" / "records.csv", rows)
    return records.read(tmp_path / "whole" / "records.csv")


@pytest.fixture
def generate_artifact(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, np.ndarray]]]:
    """Makes a `generate` artifact of flat 8x8 images; gives its folder and the source images by name."""

    def make(
        name: str, per_class: int, labels: range = range(len(CLASSES))
    ) -> tuple[Path, dict[str, np.ndarray]]:
        folder, lines, sources = tmp_path / name, [], {}
        (folder / "images").mkdir(parents=True)
        for label in labels:
            for index in range(per_class):
                file, source = f"images/{len(lines):06d}.png", f"MN/{len(lines)}"
                Image.new("RGB", (8, 8), (40 * label, 10 * index, 200)).save(folder / file)
                sources[source] = np.full((8, 8, 3), 40 * label + index, np.uint8)
                lines.append((file, label, CLASSES[label], index, 1.0, f"a {CLASSES[label]}", source))
        columns = ["file", "label", "class", "seed", "t", "prompt", "source"]
        pd.DataFrame(lines, columns=columns).to_csv(folder / "manifest.csv", index=False)
        return folder, sources

    return make


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """features.npz of four sets, 6 points of each of five classes in 8 dimensions."""
    path = tmp_path / "trained" / "features.npz"
    path.parent.mkdir()
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(CLASSES)), 6)
    arrays = {}
    for shift, name in enumerate(("source", "target", "adapted", "generated")):
        points = np.eye(8)[labels] * 9 + generator.normal(size=(len(labels), 8)) + shift
        arrays |= {f"{name}.features": points.astype(np.float32), f"{name}.labels": labels}
    np.savez(path, **arrays)
    return path


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    """losses.csv of 40 steps."""
    path = tmp_path / "finetuned" / "losses.csv"
    path.parent.mkdir()
    steps = np.arange(1, 41)
    table = {"step": steps, "loss": 2 / steps, "source_loss": 1 / steps, "target_loss": 3 / steps}
    pd.DataFrame(table).to_csv(path, index=False)
    return path
