"""The bars of classes: a class without test images has none, and is no class of 0 %."""

import math

import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.report.plots import per_class, style
from tests.report.report_samples import CLASSES, make_row, make_suite


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure of two seeds, in which class 2 has no images and class 1 has 0 %."""
    kept = []
    monkeypatch.setattr(style, "pdf", lambda figure: kept.append(figure) or b"")
    shares = {0: [90.0, 0.0, math.nan, 50.0, 30.0], 1: [70.0, 0.0, math.nan, 50.0, 10.0]}
    rows = [make_row("MN->UC", "none", seed, 1.0, per_class=each) for seed, each in shares.items()]
    per_class.draw(pd.DataFrame(rows), make_suite(augmentations=["none"]), CLASSES, "Small")
    return kept[0]


def test_a_class_without_images_has_no_bar_and_says_so(drawn: Figure) -> None:
    (axes,) = drawn.axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights[:2] == [80.0, 0.0]
    assert math.isnan(heights[2])
    assert heights[3:] == [50.0, 20.0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [*CLASSES[:2], f"{CLASSES[2]} (no images)", *CLASSES[3:]]
