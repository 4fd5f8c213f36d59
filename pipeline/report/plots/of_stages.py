"""The pictures of stages one and two: losses, predicted t, and what was made."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.data.generated import read_manifest
from pipeline.data.image_files import ByName
from pipeline.data.image_sets import load_unlabelled
from pipeline.report.artifacts import AdapterArtifacts, Artifacts, TaskArtifacts
from pipeline.report.plots import contact_sheet, loss_curve, t_scatter
from pipeline.report.plots.figure_cache import Picture


def stage_pictures(name: str, shown: str, task: TaskArtifacts, artifacts: Artifacts) -> list[Picture]:
    """Of every adapter of a task. name, shown: what names of files and titles call the task."""
    pictures = []
    for adapter, made in task.adapters.items():
        of = "" if adapter == "terra" else f" {adapter}"
        pictures += _adapter_pictures(name + of.replace(" ", "_"), shown + of, task, made, artifacts)
    return pictures


def _adapter_pictures(
    name: str, shown: str, task: TaskArtifacts, made: AdapterArtifacts, artifacts: Artifacts
) -> list[Picture]:
    pictures, classes = [], artifacts.classes
    source = None if artifacts.data is None else (artifacts.data, task.sources[0])
    sets = made.made
    if made.finetune is not None:
        title = f"{shown}: losses of fine-tuning"
        draw = partial(loss_curve.draw, made.finetune / "losses.csv", title)
        pictures.append(Picture(f"loss_{name}", (made.finetune.name, title), (".png", ".pdf"), draw))
    if (adapted := sets.get("adapted")) is not None and source is not None:
        title = f"{shown}: source images, and adapted to the target"
        pictures.append(sheet(f"contact_{name}_adapted", adapted, classes, title, source))
    if (generated := sets.get("generated")) is not None:
        title = f"{shown}: generated target images"
        pictures.append(sheet(f"contact_{name}_generated", generated, classes, title))
    if (interpolated := sets.get("interpolated")) is not None:
        title = f"{shown}: interpolated domains"
        draw = partial(contact_sheet.draw_times, interpolated, classes, title)
        parts = (interpolated.name, classes, title)
        pictures.append(Picture(f"contact_{name}_interpolated", parts, (".png", ".pdf"), draw))
    if made.times is not None:
        pictures.append(_times(f"times_{name}", made.times, interpolated, f"{shown}: predicted t"))
    if made.flow is not None and source is not None:
        pictures.append(_flow(f"flow_{name}", made.flow, f"{shown}: the domain flow", source))
    return pictures


def _times(name: str, artifact: Path, interpolated: Path | None, title: str) -> Picture:
    """The predicted t and, where domains were made, the points at which they were."""

    def draw() -> dict[str, bytes]:
        made_at = [] if interpolated is None else read_manifest(interpolated)["t"].unique()
        points = [[float(number) for number in t.split()] for t in made_at]
        return t_scatter.draw(artifact / "times.csv", points, title)

    parts = (artifact.name, interpolated and interpolated.name, title)
    return Picture(name, parts, (".png", ".pdf"), draw)


def _flow(name: str, artifact: Path, title: str, source: tuple[Path, str]) -> Picture:
    def draw() -> dict[str, bytes]:
        return contact_sheet.draw_flow(
            artifact, ByName(load_unlabelled(*source, "train"), contact_sheet.ENLARGED_TO), title
        )

    return Picture(name, (artifact.name, title, source[0].name, source[1]), (".png", ".pdf"), draw)


def sheet(
    name: str, artifact: Path, classes: Sequence[str], title: str, sources: tuple[Path, str] | None = None
) -> Picture:
    """A contact sheet; `sources` says where the source images of adapted ones are: artifact and domain."""

    def draw() -> dict[str, bytes]:
        images = (
            None if sources is None else ByName(load_unlabelled(*sources, "train"), contact_sheet.ENLARGED_TO)
        )
        return contact_sheet.draw(artifact, classes, title, sources=images)

    beside = None if sources is None else (sources[0].name, sources[1])
    return Picture(name, (artifact.name, classes, title, beside), (".png", ".pdf"), draw)
