"""Tiny artifacts, and the stage run on them."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.classify import registry
from pipeline.classify.training.stage import run
from pipeline.data.image_sets import DomainArrays, save_domain
from pipeline.data.made_images import MANIFEST_COLUMNS
from tests.classify.plugin_samples import TEXT
from tests.classify.train_samples import CLASSES, domain, draw, ignore, parameters

Make = Callable[..., Path]


@pytest.fixture
def float64() -> Iterator[None]:
    """Create tensors in float64, where formulas that are equal but for rounding agree to about 1e-15."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def prepared(tmp_path: Path) -> Make:
    """Makes a `prepare` artifact with domains S, U and T; the images or labels of T may be other ones."""

    def make(name: str = "data", target_seed: int = 2, garbage_labels: bool = False) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        target = domain(60, True, target_seed)
        labels = np.roll(target.labels, 1) if garbage_labels else target.labels
        save_domain(folder, "S", domain(64, False, 1))
        save_domain(folder, "U", domain(50, True, 4))
        save_domain(folder, "T", DomainArrays(target.images, labels, target.split, target.names))
        return folder

    return make


@pytest.fixture
def generated(tmp_path: Path) -> Make:
    """Makes a `generate` artifact of `each` images per class."""

    def make(name: str, each: int = 6) -> Path:
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(MANIFEST_COLUMNS)
        (tmp_path / name / "images").mkdir(parents=True)
        for index in range(each * len(CLASSES)):
            label, file = index // each, f"images/{index:06d}.png"
            Image.fromarray(draw(label, index, True, 7)).save(tmp_path / name / file)
            writer.writerow([file, label, CLASSES[label], 0, 1.0, f"A {CLASSES[label]}", ""])
        (tmp_path / name / "manifest.csv").write_text(table.getvalue())
        return tmp_path / name

    return make


@pytest.fixture
def train(tmp_path: Path) -> Make:
    """Runs the stage in a folder of its own, which it returns."""
    count = 0

    def go(
        inputs: dict[str, Path], progress: Callable[[int, int, str], None] = ignore, **changes: Any
    ) -> Path:
        nonlocal count
        count += 1
        workspace = tmp_path / f"workspace{count}"
        run(parameters(**changes), inputs, workspace, progress)
        return workspace

    return go


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    """The file of a plug-in that declares the method Mine. No plug-in is in use after the test."""
    file = tmp_path / "my_method.py"
    file.write_text(TEXT)
    yield file
    registry.use([])
