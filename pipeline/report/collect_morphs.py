"""What a suite of morphs left in the store: its records, its table, and pictures of the first morph of each kind."""

import json
from functools import partial
from pathlib import Path

import pandas as pd

from pipeline import __version__
from pipeline.core.store import Store, write_atomic
from pipeline.planning.morphs import MorphPlan
from pipeline.report.plots import contact_sheet
from pipeline.report.plots.figure_cache import FigureSpec, draw_if_changed
from pipeline.report.tables import morphs as morph_table

NUMBERS = ("PPL", "PPL variation", "FID", "KID", "psnr")
"""Columns that may lack a number."""


def collect(plan: MorphPlan, store: Store) -> pd.DataFrame:
    """A record for each kind and method that is scored, in the order of the suite."""
    rows = []
    for job in plan.scores.values():
        if store.has(job.kind, job.key):
            record = json.loads((store.path(job.kind, job.key) / "record.json").read_text())
            morphs = job.inputs["morphs"]
            seconds = store.manifest(morphs.kind, morphs.key)["seconds"]
            about = {"seconds": round(seconds, 2), "key": job.key, "version": __version__}
            rows.append({"suite": plan.suite.name, "dataset": plan.suite.dataset} | record | about)
    return pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, float)) if rows else pd.DataFrame()


def report_morphs(plan: MorphPlan, store: Store, folder: Path, *, as_json: bool) -> str:
    """Write records.csv, tables/ and plots/ of what is finished. Returns what to print."""
    records = collect(plan, store)
    if records.empty:
        return json.dumps([]) if as_json else f"no morph of {plan.suite.name} is scored yet"
    write_atomic(folder / "records.csv", records.to_csv(index=False))
    text = morph_table.markdown(records, plan.suite)
    write_atomic(folder / "tables" / "morphs.md", text)
    write_atomic(folder / "tables" / "morphs.csv", morph_table.wide(records).to_csv())
    for kind in plan.suite.kinds:
        made = {
            method: store.path(job.kind, job.key) / "000"
            for (of, method), score in plan.scores.items()
            if of == kind and store.has((job := score.inputs["morphs"]).kind, job.key)
        }
        if made:
            title = f"{plan.suite.name}: the first of the {kind}"
            draw = partial(contact_sheet.draw_morphs, made, title)
            keys = {method: morphs.parent.name for method, morphs in made.items()}
            picture = FigureSpec(f"morphs_{kind}", (keys, title), (".png", ".pdf"), draw)
            draw_if_changed(picture, folder / "plots")
    if as_json:
        return records.to_json(orient="records", double_precision=15)
    return f"{text}\nrecords, tables and plots: {folder}\nartifacts: {store.root}"
