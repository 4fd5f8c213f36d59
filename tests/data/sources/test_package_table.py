"""Images that an installed package brings: what is read, and what is refused in one sentence."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import FolderCard
from pipeline.config.cards import PackageTable
from pipeline.core.errors import UserError
from pipeline.data.sources.fetch import fetch


def card(module: str = "solar_sample") -> FolderCard:
    table = {
        "module": module,
        "install": "solar-sample",
        "table": "data/labels.csv",
        "columns": ["path", "class", "domain"],
        "domains": {"mono": "Mo", "poly": "Po"},
        "classes": {"0.0": "whole", "1.0": "broken"},
    }
    domains = {short: {"name": short, "images": 2, "per_class": [1, 1]} for short in ("Mo", "Po")}
    source = {"by": "a package", "package": table}
    return FolderCard(
        name="solar",
        title="Solar",
        image_size=32,
        classes=["whole", "broken"],
        domains=domains,
        sources=[source],
    )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package of four images; its table is returned."""
    monkeypatch.setenv("TERRABENCH_DATA", str(tmp_path / "data"))
    folder = tmp_path / "site" / "solar_sample"
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    lines = []
    for number, (label, kind) in enumerate((a, b) for a in ("0.0", "1.0") for b in ("mono", "poly")):
        Image.fromarray(np.full((40, 40), 60 * number, np.uint8)).save(folder / f"data/images/{number}.png")
        lines.append(f"images/{number}.png   {label}  {kind}\n")
    (folder / "data" / "labels.csv").write_text("".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder / "data" / "labels.csv"


def fetched(of: FolderCard) -> tuple[dict[str, int], list[str]]:
    lines: list[str] = []
    return fetch(of, lines.append, lambda name: lambda received, total: None).images, lines


def test_images_are_put_in_place_without_importing_the_package(package: Path) -> None:
    assert fetched(card())[0] == {"Mo": 2, "Po": 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/0.png 0.0\n", "line 5: 2 words, expected 3"),
        ("images/0.png 0.5 mono\n", "line 5: class '0.5' is not in the card of solar"),
        ("images/9.png 0.0 mono\n", "there is no file images/9.png in"),
        ("../__init__.py 0.0 mono\n", "there is no file ../__init__.py in"),
    ],
)
def test_a_table_unlike_its_card_is_refused(package: Path, line: str, message: str) -> None:
    package.write_text(package.read_text() + line)
    lines: list[str] = []
    with pytest.raises(UserError, match="solar could not be fetched"):
        fetch(card(), lines.append, lambda name: lambda received, total: None)
    assert any(message in each for each in lines)


def test_a_package_that_is_not_installed(package: Path) -> None:
    lines: list[str] = []
    with pytest.raises(UserError, match="could not be fetched"):
        fetch(card("no_such_module_here"), lines.append, lambda name: lambda received, total: None)
    assert any("no_such_module_here is not installed: pip install 'solar-sample'" in each for each in lines)


def test_a_table_names_domains_and_columns_that_there_are() -> None:
    table = card().sources[0].package
    assert table is not None
    with pytest.raises(ValueError, match=re.escape("columns must name path, domain and class")):
        PackageTable(**table.model_dump() | {"columns": ["path", "path", "class"]})
    source = {"by": "a package", "package": table.model_dump() | {"domains": {"mono": "Xx"}}}
    with pytest.raises(ValueError, match=r"domains names \['Xx'\], which the card does not have"):
        FolderCard(
            **{name: getattr(card(), name) for name in ("name", "title", "image_size", "classes")},
            domains={"Mo": {"name": "Mo", "images": 1}},
            sources=[source],
        )
