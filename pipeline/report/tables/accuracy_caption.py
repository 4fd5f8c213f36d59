"""The caption of an accuracy table: what was measured, with which checkpoint, and what is missing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.config import Suite
from pipeline.report.tables.names import RULE_NAMES, augmentation_name
from pipeline.report.training_records import failed, missing, strays

if TYPE_CHECKING:
    from pipeline.report.tables.accuracy import Row

PAIRINGS = {"random": "drawn at random", "pseudo": "drawn by pseudo-labels", "exact": "of rendered pairs"}
"""How the analogies of a LoRWeB were drawn, in words."""


def caption(
    records: pd.DataFrame,
    suite: Suite,
    tasks: Sequence[str],
    selection: str,
    rows: "Sequence[Row]",
    measured: str,
) -> str:
    """Return the caption of the table of `suite` under `selection`.

    Args:
        records: All records of the run.
        suite: The suite.
        tasks: The tasks of the table.
        selection: The selection rule.
        rows: The rows of the table.
        measured: What the numbers are, in words.
    """
    backbones = sorted(set(map(suite.backbone_of, suite.methods)))
    seeds = len(suite.seeds)
    number = f"mean ± standard error over {seeds} seeds" if seeds > 1 else "one seed, so no error"
    parts = [
        f"{measured} on {suite.dataset} ({', '.join(backbones)}), {number}",
        f"Checkpoint: {RULE_NAMES.get(selection, selection)}",
        "Best of a column in bold, second underlined",
    ]
    if any(settings.averaging == "swad" for settings in suite.backbones):
        parts.append(
            "SWAD: the average of iterates, chosen on held-out source images, whatever the checkpoint"
        )
    zero_shot = [suite.label(method) for method in suite.methods if method.zero_shot]
    if zero_shot:
        parts.append(
            f"{', '.join(zero_shot)}: not trained, by the words of the classes; the same for every seed and "
            "source"
        )
    made = [name for name in suite.augmentations if name != "none"]
    if made and "none" in suite.augmentations:
        listed = "; ".join(f"{augmentation_name(name)}, {_origin(suite, name)}" for name in made)
        parts.append(
            f"Added to training below a method: {listed}; in brackets, the gain over the method alone"
        )
    parts += _missing(records, suite, tasks, selection, rows)
    versions = sorted(records.loc[records["suite"] == suite.name, "version"].unique())
    if len(versions) > 1:
        parts.append(
            f"Made by different versions of Terra-bench, which may not be alike: {', '.join(versions)}"
        )
    other = len(strays(records, suite, tasks))
    if other:
        parts.append(f"Left out: {other} record{'s' * (other > 1)} that the suite does not ask for")
    return ". ".join(parts) + "."


def _origin(suite: Suite, augmentation: str) -> str:
    """What the images of an augmentation are made with; for a LoRWeB, also how its analogies were drawn."""
    if augmentation == "base":
        return "images of the un-adapted base model (control)"
    spec = suite.adapter_of(augmentation)
    if spec is None or spec.analogy is None:
        return f"images made with {augmentation_name(augmentation)}"
    grid = ", painted into a 2x2 grid" if spec.analogy.context == "grid" else ""
    return f"images made with a LoRWeB, its analogies {PAIRINGS[spec.analogy.pairing]}{grid}"


def _missing(
    records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str, rows: "Sequence[Row]"
) -> list[str]:
    """How many trainings lack a result, in a sentence; none if all have one."""
    absent = missing(records, suite, tasks)
    lacking = int((absent["selection"] == selection).sum())
    if not lacking:
        return []
    marks = "–: no result yet" + "; †: fewer seeds" * any(row.average.fewer_seeds for row in rows)
    failures = int((failed(records, suite, tasks)["selection"] == selection).sum())
    why = f", {failures} of them failed, with the reason in records.csv" if failures else ""
    return [f"Missing: {lacking} of {len(rows) * len(tasks) * len(suite.seeds)} trainings{why} ({marks})"]
