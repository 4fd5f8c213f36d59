"""Measure how long tables, page and t-SNE take, on made-up records and features."""

import io
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline import __version__, config
from pipeline.bench.timing import Log, Measurements, timed
from pipeline.planning.tasks import suite_tasks
from pipeline.report import records, training_records
from pipeline.report.page.build import write_page
from pipeline.report.page.run_info import RunInfo
from pipeline.report.plots import tsne
from pipeline.report.trainings import write_accuracies, write_published, write_statistics

METHODS = 12
SELECTIONS = ["last", "source", "unsupervised", "oracle"]
"""With twelve tasks, three augmentations and three seeds, they give 5,184 records."""

POINTS, DIMENSIONS, CLUSTERS = 5000, 256, 4


def measure(log: Log) -> Measurements:
    """Run both measurements; takes one to two minutes.

    Returns:
        `report` from `measure_report` and `tsne` from `measure_tsne`.
    """
    with tempfile.TemporaryDirectory() as folder:
        log("tables and page")
        report = measure_report(Path(folder))
        log("t-SNE, twice")
        return {"report": report, "tsne": measure_tsne(Path(folder))}


def described(measured: Measurements) -> str:
    """Describe the measurements, one per line."""
    report, drawn = measured["report"], measured["tsne"]
    same = "the same" if drawn["same"] else "OTHER"
    return (
        f"report  {report['seconds']:.1f} s from {report['records']:.0f} records to tables, statistics and "
        "page (aim: under 5 s for 5000)\n"
        f"t-SNE   {drawn['processor_seconds']:.1f} s of one core, {drawn['seconds']:.1f} s by the clock, for "
        f"{drawn['points']:.0f} features of {drawn['dimensions']:.0f} dimensions (aim: under 60 s); "
        f"a second time: {same} bytes"
    )


def example_suite() -> config.Suite:
    """Extend the digits suite by methods, seeds and selection rules."""
    methods = [{"name": "ERM", "label": f"Method {number}"} for number in range(METHODS)]
    changed = {"name": "example", "methods": methods, "seeds": [0, 1, 2], "selections": SELECTIONS}
    return config.Suite.model_validate(
        config.read_training_suite("digits").model_dump(exclude_unset=True) | changed
    )


def measure_report(folder: Path) -> dict[str, float]:
    """Time the way from records.csv to the tables, statistics and page of a suite, without figures.

    Returns:
        `records`, their number, and `seconds`.
    """
    suite = example_suite()
    card = config.read_card(suite.dataset)
    tasks = [config.task_name(suite.setting, *task) for task in suite_tasks(suite, card)]
    random, rows = np.random.default_rng(0), []
    for index, cell in enumerate(training_records.wanted(suite, tasks).to_dict("records")):
        per_class = random.uniform(0, 100, len(card.classes))
        result = {"accuracy": per_class.mean(), "per_class": list(per_class), "seconds": 1.0}
        key = {"key": str(index // len(SELECTIONS)), "version": __version__}
        rows.append({str(column): value for column, value in cell.items()} | result | key)
    records.write(folder / "records.csv", rows)

    def write_report() -> None:
        found = records.read(folder / "records.csv")
        write_accuracies(suite, tasks, card.classes, found, folder)
        write_published(suite, tasks, found, folder)
        write_statistics(suite, tasks, found, folder)
        write_page(folder, RunInfo(suite=suite, card=card, tasks=tasks, file="example.yaml"), found)

    return {"records": len(rows), "seconds": timed(write_report)}


def measure_tsne(folder: Path, points: int = POINTS) -> dict[str, float]:
    """Time a t-SNE figure, and draw it again to compare the bytes.

    One core draws it. Other work on this machine affects wall-clock seconds, but hardly the core's.

    Returns:
        `points`, `dimensions`, wall-clock `seconds`, `processor_seconds`, and whether the bytes are the
        `same`.
    """
    path = example_features(folder / "features.npz", points)
    names = [str(label) for label in range(CLUSTERS)]
    clock: list[float] = []
    core: list[float] = []
    figures: list[dict[str, bytes]] = []
    for _ in range(2):
        started, worked = time.perf_counter(), time.process_time()
        figures.append(tsne.draw(path, names, ("A", "B"), "example"))
        clock.append(time.perf_counter() - started)
        core.append(time.process_time() - worked)
    taken = {"seconds": max(clock), "processor_seconds": max(core)}
    return {"points": points, "dimensions": DIMENSIONS} | taken | {"same": figures[0] == figures[1]}


def example_features(path: Path, points: int) -> Path:
    """Write features.npz: a cluster for each class in four sets that lie apart, `points` in all."""
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    centres = random.normal(0, 1, (CLUSTERS, DIMENSIONS))
    for name in ("source", "target", "adapted", "generated"):
        labels = np.arange(points // 4) % CLUSTERS
        shift = random.normal(0, 0.5, DIMENSIONS)
        features = centres[labels] + shift + random.normal(0, 1, (len(labels), DIMENSIONS))
        arrays |= {f"{name}.features": features.astype(np.float32), f"{name}.labels": labels}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    path.write_bytes(file.getvalue())
    return path
