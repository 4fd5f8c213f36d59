"""What the documentation says about the code is true: paths exist, columns and terms are complete."""

import re
from pathlib import Path

import pytest

from pipeline.report.suite_report import MODULES, report_for

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:pipeline|benchmarks|datasets|tests|docs|results)/[\w./-]+)`", page.read_text())
    placeholders = ("my_", "NAME", "results/store", "results/digits_demo", "datasets/data")
    assert [
        path
        for path in named
        if not (ROOT / path).exists() and not any(word in path for word in placeholders)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    generated = {"suites_reference.md", "contributing.md", "changelog.md", "reference.md"}
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", page.read_text())
    targets = [link or picture for link, picture in links]
    local = [target for target in targets if "://" not in target and Path(target).name not in generated]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("setting", MODULES)
def test_the_results_page_explains_every_column_of_records(setting: str) -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    assert [name for name in report_for(setting).schema.names if f"`{name}`" not in text] == []
