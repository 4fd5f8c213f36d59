"""The figure of predicted t: drawn from times.csv alone, with the same bytes each time."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.report.plots import style, t_scatter


def table(folder: Path, t_dim: int, scale: float = 0.1) -> Path:
    """times.csv of three domains of 20 images, at 0, 1 and 2 in every dimension."""
    rng, parts = np.random.default_rng(0), []
    for place, domain in enumerate(("A", "NA", "$5$")):
        t = place + scale * rng.normal(size=(20, t_dim))
        named = {"domain": domain, "split": "train", "name": [f"0{i}" for i in range(20)]}
        parts.append(pd.DataFrame(named | {f"t{axis}": t[:, axis] for axis in range(t_dim)}))
    pd.concat(parts).to_csv(folder / "times.csv", index=False)
    return folder / "times.csv"


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    drawn: list[Figure] = []
    monkeypatch.setattr(style, "png", lambda figure: drawn.append(figure) or b"")
    monkeypatch.setattr(style, "pdf", lambda figure: b"")
    return drawn


@pytest.mark.parametrize(("t_dim", "panels"), [(1, 1), (2, 1), (3, 3)])
def test_every_image_and_every_point_is_drawn(
    tmp_path: Path, figure: list[Figure], t_dim: int, panels: int
) -> None:
    points = [(0.5,) * t_dim, (1.5,) * t_dim, (2.5,) * t_dim]
    t_scatter.draw(table(tmp_path, t_dim), points, "Predicted t")
    (made,) = figure
    labels = [text.get_text() for text in made.legends[0].get_texts()]
    assert sorted(labels) == sorted(["A (20)", "NA (20)", "$5$ (20)", "grid, 3 points"])
    assert len(made.axes) == panels
    for axes in made.axes:
        if t_dim == 1:
            assert sum(bar.get_height() for bar in axes.patches) == 60
            assert axes.lines[-1].get_xdata().tolist() == [0.5, 1.5, 2.5]
        else:
            assert sorted(len(cloud.get_offsets()) for cloud in axes.collections) == [3, 20, 20, 20]
            colours = {tuple(cloud.get_facecolor()[0][:3]) for cloud in axes.collections}
            assert len(colours) == 4, "each domain has a colour of its own"


def test_planes_are_those_of_their_columns(tmp_path: Path, figure: list[Figure]) -> None:
    file = table(tmp_path, 3)
    t_scatter.draw(file, [], "Predicted t")
    held, named = pd.read_csv(file), []
    for axes in figure[0].axes:
        across, up = (label.removeprefix("predicted ") for label in (axes.get_xlabel(), axes.get_ylabel()))
        np.testing.assert_allclose(axes.collections[0].get_offsets(), held.loc[:19, [across, up]])
        named.append((across, up))
    assert named == [("t0", "t1"), ("t0", "t2"), ("t1", "t2")]


@pytest.mark.parametrize("t_dim", [1, 2, 3])
def test_twice_gives_the_same_bytes(tmp_path: Path, t_dim: int) -> None:
    first, second = (t_scatter.draw(table(tmp_path, t_dim), [(1.0,) * t_dim], "$5$") for _ in range(2))
    assert first == second
    assert set(first) == {".png", ".pdf"}
    assert Image.open(io.BytesIO(first[".png"])).width >= 1200
    assert b"CreationDate" not in first[".pdf"]
    assert t_scatter.draw(table(tmp_path, t_dim), [(2.0,) * t_dim], "$5$")[".png"] != first[".png"]


def test_a_degenerate_predictor_can_be_drawn(tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    for t_dim in (1, 2):
        whole = pd.read_csv(table(tmp_path, t_dim), keep_default_na=False)
        whole.assign(**{f"t{axis}": 0.5 for axis in range(t_dim)}).to_csv(file, index=False)
        assert t_scatter.draw(file, [(0.0,) * t_dim], "one t")[".png"].startswith(b"\x89PNG")


def test_points_of_another_dimension_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has t of 2 dimensions, but the grid's points have others"):
        t_scatter.draw(table(tmp_path, 2), [(0.0, 0.0), (1.0,)], "Predicted t")
