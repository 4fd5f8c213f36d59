"""index.html: the tables, figures, settings and times of a suite, as one file that needs no other.

It is written from a results folder alone: its records, run.json and plots/.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.core.store import check_regular, write_atomic
from pipeline.core.text import printable
from pipeline.report import fingerprint
from pipeline.report.manifest import PAGE
from pipeline.report.page import html_table, images, reproduce_command
from pipeline.report.page.run_info import RunInfo
from pipeline.report.plots import letters
from pipeline.report.suite_report import report_for
from pipeline.report.tables import published_files

FILE = PAGE


def write_page(folder: Path, info: RunInfo, records: pd.DataFrame) -> Path:
    """Write folder/index.html, unless its inputs have not changed; return its path."""
    path, figures = folder / FILE, _pictures(folder / "plots")
    mark = _fingerprint(info, records, figures)
    if not _has_fingerprint(path, mark):
        write_atomic(path, render_page(info, records, figures, mark))
    return path


def render_page(info: RunInfo, records: pd.DataFrame, figures: Sequence[Path], mark: str = "") -> str:
    """Return the page.

    Args:
        info: What the page tells of the run.
        records: The records.
        figures: PNG files in the folder plots/ beside the page.
        mark: The fingerprint to write into it.
    """
    report = report_for(info.suite.setting)
    section = report.section(info, records)
    settings = as_yaml(info.suite.model_dump(mode="json", exclude_unset=True))
    template = html_table.environment().get_template("page.html.j2")
    return template.render(
        mark=mark,
        info=info,
        suite=info.suite,
        section=section,
        groups=images.embed(figures),
        letters=letters.note(info.suite.title, info.card.classes, records),
        versions=sorted(records["version"].unique()),
        results=records.drop_duplicates("key"),
        settings=settings,
        commands=[
            (row, reproduce_command.row_command(info.suite.name, info.file, row, fields, info.plugins))
            for row, fields in report.rows(info.suite)
        ],
        whole=reproduce_command.run_command(info.file, info.plugins),
        spell=spell,
        **section.context,
    )


def as_yaml(value: Any) -> str:
    """Return a plain value as YAML that reads as the same value, with escapes for characters nobody sees."""
    text = yaml.safe_dump(value, sort_keys=False, width=100, allow_unicode=True)
    return text if printable(text) == text else yaml.safe_dump(value, sort_keys=False, width=100)


def spell(seconds: float) -> str:
    """Return a duration such as `2 h 05 min`, `4 min 10 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _pictures(folder: Path) -> list[Path]:
    """The PNG files in `folder`, without pipes and without links, which could lead to pictures of others."""
    found = sorted(folder.glob("*.png"))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _fingerprint(info: RunInfo, records: pd.DataFrame, figures: Sequence[Path]) -> str:
    """A hash of everything that the page depends on."""
    parts = [path.read_bytes() for path in sorted(html_table.PARTS.glob("*.*")) if path.suffix != ".py"]
    parts += [path.read_bytes() for path in published_files.files()]
    drawn = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in figures]
    return fingerprint.compute(parts, drawn, info.model_dump_json(), records.to_csv())


def _has_fingerprint(path: Path, mark: str) -> bool:
    """Whether the page at `path` exists and holds `mark`, which stands near its beginning."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            return mark.encode() in file.read(1000)
    except OSError:
        return False
