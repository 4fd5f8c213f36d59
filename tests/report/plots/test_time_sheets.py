"""Sheets of what is made at several t: rows and columns where they belong."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.report.plots import contact_sheet, loss_curve
from tests.report.report_samples import CLASSES

SIDE = 16
LINE = SIDE + contact_sheet.GAP
DOWN = SIDE + contact_sheet.BETWEEN_CLASSES
POINTS = ["-1 0.5", "0 0", "1 2"]


def opened(drawn: dict[str, bytes]) -> Image.Image:
    image = Image.open(io.BytesIO(drawn[".png"]))
    image.load()
    return image


def artifact(folder: Path, rows: list[dict[str, object]]) -> Path:
    """Flat images of 8x8; a row's `colour` is that of its image."""
    (folder / "images").mkdir(parents=True)
    for index, row in enumerate(rows):
        row["file"] = f"images/{index:06d}.png"
        Image.new("RGB", (8, 8), row.pop("colour")).save(folder / row["file"])
    pd.DataFrame(rows).assign(seed=0, prompt="", scale="1.0").to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.fixture
def interpolated(tmp_path: Path) -> Path:
    rows = [
        {
            "label": label,
            "class": CLASSES[label],
            "t": t,
            "source": "",
            "colour": (40 * label, 60 * point, which),
        }
        for point, t in enumerate(POINTS)
        for which in range(2)
        for label in range(len(CLASSES))
    ]
    return artifact(tmp_path / "interpolated", rows)


def test_interpolated_domains_have_t_down_and_classes_across(interpolated: Path) -> None:
    sheet = opened(contact_sheet.draw_times(interpolated, CLASSES, "T"))
    pixels = np.asarray(sheet)
    for point in range(3):
        for label in range(len(CLASSES)):
            there = (pixels == (40 * label, 60 * point, 0)).all(axis=2)
            rows, columns = np.nonzero(there)
            assert there.sum() == SIDE * SIDE, "the first image of the class at this t, once"
            first = np.nonzero((pixels == (0, 60 * point, 0)).all(axis=2))
            top = np.nonzero((pixels == (40 * label, 0, 0)).all(axis=2))
            assert columns.min() - first[1].min() == label * LINE
            assert rows.min() - top[0].min() == point * DOWN


def test_of_many_points_so_many_are_shown_evenly_spread(interpolated: Path) -> None:
    two = np.asarray(opened(contact_sheet.draw_times(interpolated, CLASSES, "T", most=2)))
    shown = [bool((two == (40, 60 * point, 0)).all(axis=2).any()) for point in range(3)]
    assert shown == [True, False, True]


def test_a_flow_has_each_source_first_and_then_each_time(tmp_path: Path) -> None:
    rows = [
        {
            "label": i,
            "class": CLASSES[i],
            "t": t,
            "source": f"MN/{i}",
            "colour": (40 * i, 100 + 60 * place, 9),
        }
        for place, t in enumerate(["0", "1"])
        for i in range(2)
    ]
    folder = artifact(tmp_path / "flow", rows)
    sources = {f"MN/{i}": np.full((8, 8, 3), (50 + i, 7, 200), np.uint8) for i in range(2)}
    pixels = np.asarray(opened(contact_sheet.draw_flow(folder, sources, "T")))
    for i in range(2):
        at = [
            np.argwhere((pixels == colour).all(axis=2)).min(axis=0)
            for colour in ((50 + i, 7, 200), (40 * i, 100, 9), (40 * i, 160, 9))
        ]
        assert [int(column - at[0][1]) for _, column in at] == [0, LINE, 2 * LINE]
        assert len({int(row) for row, _ in at}) == 1
    with pytest.raises(UserError, match="names the source image 'MN/0'"):
        contact_sheet.draw_flow(folder, {}, "T")


def test_losses_of_several_domains_are_drawn_by_their_names(tmp_path: Path) -> None:
    assert [
        name for name, _ in loss_curve.lines(["step", "loss", "MN_loss", "UC_loss", "SY_loss"]).values()
    ] == [
        "MN",
        "UC",
        "SY",
        "all",
    ]
    assert [
        name for name, _ in loss_curve.lines(["step", "loss", "source_loss", "target_loss"]).values()
    ] == [
        "source (t = 0)",
        "target (t = 1)",
        "both",
    ]
