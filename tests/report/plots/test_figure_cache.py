"""A figure's files fit into a file system, whatever its task, method and augmentation are called."""

import io
from pathlib import Path

from PIL import Image

from pipeline.report.plots.figure_cache import FigureSpec, draw_if_changed


def draw() -> dict[str, bytes]:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format="PNG")
    return {".png": file.getvalue()}


def test_long_names_are_cut_and_stay_different(tmp_path: Path) -> None:
    names = ["tsne_" + "数" * 200 + end for end in ("a", "b")]
    paths = [draw_if_changed(FigureSpec(name, (), (".png",), draw), tmp_path)[0] for name in names]
    assert all(path.exists() and path.name.startswith("tsne_数") for path in paths)
    assert len({path.name for path in paths}) == 2
