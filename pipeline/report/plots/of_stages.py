"""List the figures of stages one and two: losses, predicted t and made images."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.data.image_files import ByName
from pipeline.data.image_sets import load_unlabelled
from pipeline.data.made_images import read_manifest
from pipeline.report.artifacts import AdapterArtifacts, Artifacts, TaskArtifacts
from pipeline.report.plots import contact_sheet, loss_curve, t_scatter
from pipeline.report.plots.figure_cache import FigureSpec


def stage_figures(name: str, heading: str, task: TaskArtifacts, artifacts: Artifacts) -> list[FigureSpec]:
    """Return the figures of every adapter of a task.

    Args:
        name: The task in file names.
        heading: The task in titles.
        task: The task's artifacts.
        artifacts: The suite's artifacts.
    """
    figures = []
    for adapter, made in task.adapters.items():
        suffix = "" if adapter == "terra" else f" {adapter}"
        own_name = name + suffix.replace(" ", "_")
        figures += _adapter_figures(own_name, heading + suffix, task, made, artifacts)
    return figures


def _adapter_figures(
    name: str, heading: str, task: TaskArtifacts, made: AdapterArtifacts, artifacts: Artifacts
) -> list[FigureSpec]:
    """The figures of one adapter."""
    figures: list[FigureSpec] = []
    classes = artifacts.classes
    source = None if artifacts.data is None else (artifacts.data, task.sources[0])
    sets = made.made
    if made.finetune is not None:
        title = f"{heading}: losses of fine-tuning"
        draw = partial(loss_curve.draw, made.finetune / "losses.csv", title)
        figures.append(FigureSpec(f"loss_{name}", (made.finetune.name, title), (".png", ".pdf"), draw))
    if (adapted := sets.get("adapted")) is not None and source is not None:
        title = f"{heading}: source images, and adapted to the target"
        figures.append(contact_sheet_figure(f"contact_{name}_adapted", adapted, classes, title, source))
    if (generated := sets.get("generated")) is not None:
        title = f"{heading}: generated target images"
        figures.append(contact_sheet_figure(f"contact_{name}_generated", generated, classes, title))
    if (interpolated := sets.get("interpolated")) is not None:
        title = f"{heading}: interpolated domains"
        draw = partial(contact_sheet.draw_times, interpolated, classes, title)
        parts = (interpolated.name, classes, title)
        figures.append(FigureSpec(f"contact_{name}_interpolated", parts, (".png", ".pdf"), draw))
    if made.times is not None:
        figures.append(_t_scatter(f"times_{name}", made.times, interpolated, f"{heading}: predicted t"))
    if made.flow is not None and source is not None:
        figures.append(_flow(f"flow_{name}", made.flow, f"{heading}: the domain flow", source))
    return figures


def _t_scatter(name: str, artifact: Path, interpolated: Path | None, title: str) -> FigureSpec:
    """The predicted t and, where domains were interpolated, the points at which they were made."""

    def draw() -> dict[str, bytes]:
        made_at = [] if interpolated is None else list(read_manifest(interpolated)["t"].unique())
        points = [[float(number) for number in t.split()] for t in made_at]
        return t_scatter.draw(artifact / "times.csv", points, title)

    parts = (artifact.name, interpolated and interpolated.name, title)
    return FigureSpec(name, parts, (".png", ".pdf"), draw)


def _flow(name: str, artifact: Path, title: str, source: tuple[Path, str]) -> FigureSpec:
    """The domain flow of the images of `source`: the `prepare` artifact and the domain."""

    def draw() -> dict[str, bytes]:
        return contact_sheet.draw_flow(
            artifact, ByName(load_unlabelled(*source, "train"), contact_sheet.ENLARGED_TO), title
        )

    return FigureSpec(name, (artifact.name, title, source[0].name, source[1]), (".png", ".pdf"), draw)


def contact_sheet_figure(
    name: str, artifact: Path, classes: Sequence[str], title: str, sources: tuple[Path, str] | None = None
) -> FigureSpec:
    """Return the contact sheet of a `generate` artifact.

    Args:
        name: The name of its files.
        artifact: The folder of the artifact.
        classes: Class names by label.
        title: The title.
        sources: For adapted images, the `prepare` artifact and the domain that hold their source images.
    """

    def draw() -> dict[str, bytes]:
        images = (
            None if sources is None else ByName(load_unlabelled(*sources, "train"), contact_sheet.ENLARGED_TO)
        )
        return contact_sheet.draw(artifact, classes, title, sources=images)

    beside = None if sources is None else (sources[0].name, sources[1])
    return FigureSpec(name, (artifact.name, classes, title, beside), (".png", ".pdf"), draw)
