"""Results of suites of morphs: scores by kind and method, frames of the first morphs, and the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline import __version__
from pipeline.config import MorphSuite
from pipeline.core.store import Store, write_atomic
from pipeline.core.text import csv_cell
from pipeline.planning.morphs import MorphCell, MorphPlan
from pipeline.report.artifacts import artifact
from pipeline.report.schema import (
    FAILED,
    REASON,
    SECONDS,
    STATUS,
    Column,
    Measure,
    Schema,
    names,
    number,
    optional,
    whole_number,
)
from pipeline.report.suite_report import Section, SuiteReport
from pipeline.report.tables import morphs as morph_table
from pipeline.report.tables.formats import safe_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.report.page.run_info import RunInfo
    from pipeline.report.plots.figure_cache import FigureSpec


def _float(name: str, parse: Any = number) -> Column:
    return Column(name, optional(parse), "a number", dtype="float64")


def _count(name: str) -> Column:
    return Column(name, whole_number, "a whole number from 0", dtype="int64")


def cell_name(cell: Mapping[Any, Any]) -> str:
    """Return the name of a cell: `images, terra`."""
    return f"{cell['kind']}, {cell['method']}"


SCHEMA = Schema(
    columns=(
        *names("suite", "dataset"),
        *map(Column, ("setting", "kind")),
        *names("method"),
        *map(Column, ("distance", "features")),
        *map(_count, ("sequences", "frames")),
        *map(_float, ("PPL", "PPL variation", "FID")),
        _float("KID", float),  # an unbiased estimate, which may be below 0
        _count("reference"),
        _float("psnr"),
        SECONDS,
        Column("key"),
        Column("version"),
        STATUS,
        REASON,
    ),
    identity=("suite", "dataset", "setting", "kind", "method", "distance", "features"),
    measures=(
        Measure("PPL", higher_is_better=False),
        Measure("PPL variation", higher_is_better=False),
        Measure("FID", higher_is_better=False),
        Measure("KID", higher_is_better=False),
        Measure("psnr", higher_is_better=True),
    ),
    unit="morph method",
    cell_name=cell_name,
)
"""`reference` counts the images that FID and KID compare with; `psnr` (dB) is that of both ends of image
morphs.
"""


@dataclass(frozen=True)
class MorphArtifacts:
    """The first morph of each kind: a folder of frames by method, in a folder that is named by the key."""

    first: Mapping[str, Mapping[str, Path]]


class MorphReport(SuiteReport[MorphSuite, MorphPlan, MorphArtifacts]):
    """Scores of morphs."""

    schema = SCHEMA
    units = "morph methods"

    def records_of(self, plan: MorphPlan, cell: MorphCell, store: Store) -> list[dict[str, Any]]:
        """Return the record of one kind and method."""
        seconds = store.manifest(cell.morphs.kind, cell.morphs.key)["seconds"]
        own = self._own(plan, cell) | {"seconds": round(seconds, 2)}
        fields = self.schema.required - own.keys()
        return [record | own for record in store.records(cell.job.kind, cell.job.key, "record.json", fields)]

    def records_of_failed(self, plan: MorphPlan, cell: MorphCell, reason: str) -> list[dict[str, Any]]:
        """Return a record without scores."""
        counts = dict.fromkeys(("sequences", "frames", "reference"), 0)
        scores = {measure.column: None for measure in self.schema.measures}
        networks = {"distance": plan.suite.distance, "features": plan.suite.features}
        own = self._own(plan, cell) | {"seconds": 0.0, "status": FAILED, "reason": reason}
        return [counts | scores | networks | own]

    def _own(self, plan: MorphPlan, cell: MorphCell) -> dict[str, Any]:
        """The columns that the plan determines."""
        return {
            "suite": plan.suite.name,
            "dataset": plan.suite.dataset,
            "setting": plan.suite.setting,
            "kind": cell.kind,
            "method": cell.method,
            "key": cell.job.key,
            "version": __version__,
        }

    def artifacts(self, plan: MorphPlan, store: Store) -> MorphArtifacts:
        """Return the first morph of each kind and method."""
        first: dict[str, dict[str, Path]] = {kind: {} for kind in plan.suite.kinds}
        for cell in plan.cells:
            folder = artifact(cell.morphs, store)
            if folder is not None:
                first[cell.kind][cell.method] = folder / "000"
        return MorphArtifacts(first)

    def no_artifacts(self, info: "RunInfo") -> MorphArtifacts:
        """Return no morphs."""
        return MorphArtifacts({})

    def write_tables(
        self, suite: MorphSuite, records: pd.DataFrame, artifacts: MorphArtifacts, folder: Path
    ) -> list[Path]:
        """Write folder/tables/morphs.{csv,md}."""
        texts = {
            "morphs.csv": morph_table.wide(records).rename(index=csv_cell, columns=csv_cell).to_csv(),
            "morphs.md": morph_table.markdown(records, suite),
        }
        for name, text in texts.items():
            write_atomic(folder / "tables" / name, text)
        return [folder / "tables" / name for name in texts]

    def figures(
        self, suite: MorphSuite, records: pd.DataFrame, artifacts: MorphArtifacts
    ) -> "list[FigureSpec]":
        """Return the frames of the first morph of each kind, a row for each method."""
        from pipeline.report.plots import contact_sheet  # imports matplotlib
        from pipeline.report.plots.figure_cache import FigureSpec

        figures = []
        for kind, folders in artifacts.first.items():
            if folders:
                title = f"{suite.name}: the first of the {kind}"
                keys = {method: frames.parent.name for method, frames in folders.items()}
                draw = partial(contact_sheet.draw_morphs, folders, title)
                figures.append(FigureSpec(f"morphs_{kind}", (keys, title), (".png", ".pdf"), draw))
        return figures

    def on_terminal(
        self, suite: MorphSuite, records: pd.DataFrame, tasks: Sequence[str], width: int
    ) -> "list[RenderableType]":
        """Return the table of scores."""
        return [morph_table.terminal(records, suite, width), safe_text(morph_table.caption(records, suite))]

    def section(self, info: "RunInfo", records: pd.DataFrame) -> Section:
        """Return the table of scores."""
        suite: MorphSuite = info.suite  # type: ignore[assignment]
        table = morph_table.table(records)
        return Section(
            heading="Scores",
            template="morphs.html.j2",
            best="",
            summary=f"{len(suite.methods)} methods of morphing on {info.card.title}; "
            f"kinds of morphs: {', '.join(suite.kinds)}.",
            unit=self.units,
            facts=[
                ("Morphs", f"{suite.pairs} of each kind and method, {suite.frames} frames each"),
                ("Networks", f"distance {suite.distance}, features {suite.features}"),
            ],
            context={
                "table": table,
                "title": suite.title,
                "caption": morph_table.caption(records, suite),
                "all_scores": morph_table.all_scores(records),
                "score_header": ["Kind and method", *morph_table.ALL_SCORES, "seconds"],
                "failed": [
                    (cell_name(row), row["reason"])
                    for row in records[records["status"] == FAILED].to_dict("records")
                ],
            },
        )

    def rows(self, suite: MorphSuite) -> list[tuple[str, dict[str, Any]]]:
        """Return the methods."""
        return [(method, {"methods": [method]}) for method in suite.methods]

    def tidy(self, records: pd.DataFrame) -> pd.DataFrame:
        """Return the records as they are: one row holds one value of each score."""
        return records

    def curves(self, records: pd.DataFrame) -> Iterator[tuple[str, dict[int, dict[str, float]]]]:
        """Yield scores by `SCORE/KIND`, all at step 0, because morphs have one seed."""
        for method in dict.fromkeys(records["method"]):
            rows = records[records["method"] == method]
            values = {
                f"{measure.column}/{row['kind']}": row[measure.column]
                for row in rows.to_dict("records")
                for measure in self.schema.measures
                if pd.notna(row[measure.column])
            }
            if values:
                yield f"{rows['suite'].iloc[0]}/{method}", {0: values}


REPORT = MorphReport()
