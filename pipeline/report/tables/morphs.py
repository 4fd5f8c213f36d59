"""The table of a suite of morphs: a row for each method, and for each kind FID, PPL and how evenly it goes."""

import pandas as pd

from pipeline.config import MorphSuite
from pipeline.report.tables.formats import pipe_table

SHOWN = {"FID": "FID", "PPL": "PPL", "PPL variation": "variation"}


def wide(records: pd.DataFrame) -> pd.DataFrame:
    """Rows by method, columns (kind, score), in the order of `records`."""
    table = records.pivot(index="method", columns="kind", values=list(SHOWN)).swaplevel(axis=1)
    kinds, methods = records["kind"].unique(), records["method"].unique()
    return table.reindex(index=methods, columns=pd.MultiIndex.from_product([kinds, SHOWN]))


def markdown(records: pd.DataFrame, suite: MorphSuite) -> str:
    """The table with what its numbers are. The best of a column in bold, but for a PPL of 0, which is no morph."""
    table = wide(records)
    heads = [f"{kind}: {SHOWN[score]}" for kind, score in table.columns]
    best = {column: min((v for v in table[column] if v > 0), default=None) for column in table.columns}
    rows = [
        [method, *(_cell(row[column], best[column]) for column in table.columns)]
        for method, row in table.iterrows()
    ]
    lines = [f"### {suite.title}", "", *pipe_table(["Method", *heads], rows)]
    return "\n".join([*lines, "", _caption(records, suite)]) + "\n"


def _cell(value: float, best: float | None) -> str:
    if pd.isna(value):
        return "–"
    return f"**{value:.3g}**" if value == best else f"{value:.3g}"


def _caption(records: pd.DataFrame, suite: MorphSuite) -> str:
    """What was measured, on how much, and in which networks."""
    ratios = records.dropna(subset="psnr")
    ends = ", ".join(f"{row.method} {row.psnr:.1f}" for row in ratios.itertuples())
    back = f" PSNR in dB of the ends of morphs between images: {ends}." if ends else ""
    return (
        f"{suite.pairs} morphs of {suite.frames} frames for each cell, on {suite.dataset} with {suite.base_model.name}. "
        f"FID: of all frames to all training images of the ends' classes and domains, in features of {suite.features}. PPL: "
        f"the sum of distances between neighbouring frames, by {suite.distance}, mean over morphs; variation: the deviation "
        f"of these distances over their mean. –: no result yet, or no more frames than features. Lower is better; a PPL of 0 is of frames that are all alike.{back}"
    )
