"""`bench report`: how long tables, page and t-SNE take, on records and features made up for the purpose."""

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline import __version__, config
from pipeline.planning.tasks import suite_tasks
from pipeline.report import records
from pipeline.report.page import build as page
from pipeline.report.page.run_info import About
from pipeline.report.plots import tsne
from pipeline.report.write import write_published, write_statistics, write_tables

Say = Callable[[str], None]
Measured = dict[str, dict[str, float]]

METHODS = 12
SELECTIONS = ["last", "source", "unsupervised", "oracle"]
"""With twelve tasks, three augmentations and three seeds: 5,184 records."""

POINTS, DIMENSIONS, CLUSTERS = 5000, 256, 4


def measure(say: Say) -> Measured:
    """Both measurements; what they come to is in `described`. Takes one to two minutes."""
    with tempfile.TemporaryDirectory() as folder:
        say("tables and page")
        report = measure_report(Path(folder))
        say("t-SNE, twice")
        return {"report": report, "tsne": measure_tsne(Path(folder))}


def described(measured: Measured) -> str:
    """The measurements for people, a line each."""
    report, drawn = measured["report"], measured["tsne"]
    same = "the same" if drawn["same"] else "OTHER"
    return (
        f"report  {report['seconds']:.1f} s from {report['records']:.0f} records to tables, statistics and page "
        "(aim: under 5 s for 5000)\n"
        f"t-SNE   {drawn['processor_seconds']:.1f} s of one core, {drawn['seconds']:.1f} s by the clock, for "
        f"{drawn['points']:.0f} features of {drawn['dimensions']:.0f} dimensions (aim: under 60 s); a second time: "
        f"{same} bytes"
    )


def example_suite() -> config.Suite:
    """The digits suite with more methods, seeds and rules."""
    methods = [{"name": "ERM", "label": f"Method {number}"} for number in range(METHODS)]
    changed = {"name": "example", "methods": methods, "seeds": [0, 1, 2], "selections": SELECTIONS}
    return config.Suite.model_validate(config.read_suite("digits").model_dump(exclude_unset=True) | changed)


def measure_report(folder: Path) -> dict[str, float]:
    """Seconds from records.csv to the tables, statistics and page of a suite, without pictures and without imports."""
    suite = example_suite()
    card = config.read_card(suite.dataset)
    tasks = [config.task_name(suite.setting, *task) for task in suite_tasks(suite, card)]
    rows, random = records.wanted(suite, tasks).to_dict("records"), np.random.default_rng(0)
    for place, row in enumerate(rows):
        shares = random.uniform(0, 100, len(card.classes))
        made = {"accuracy": shares.mean(), "per_class": list(shares), "seconds": 1.0, "version": __version__}
        row |= made | {"key": str(place // len(SELECTIONS))}
    records.write(folder / "records.csv", rows)
    started = time.perf_counter()
    found = records.read(folder / "records.csv")
    write_tables(suite, tasks, card.classes, found, folder)
    write_published(suite, tasks, found, folder)
    write_statistics(suite, tasks, found, folder)
    page.write(folder, About(suite=suite, card=card, tasks=tasks, file="example.yaml"), found)
    return {"records": len(rows), "seconds": time.perf_counter() - started}


def measure_tsne(folder: Path, points: int = POINTS) -> dict[str, float]:
    """Seconds that a t-SNE picture takes, and whether a second one has the same bytes.

    It is drawn on one core: other work on this machine lengthens the clock's seconds, and the core's hardly.
    """
    path = example_features(folder / "features.npz", points)
    names, clock, core, drawn = [str(label) for label in range(CLUSTERS)], [], [], []
    for _ in range(2):
        started, worked = time.perf_counter(), time.process_time()
        drawn.append(tsne.draw(path, names, ("A", "B"), "example"))
        clock.append(time.perf_counter() - started)
        core.append(time.process_time() - worked)
    taken = {"seconds": max(clock), "processor_seconds": max(core)}
    return {"points": points, "dimensions": DIMENSIONS} | taken | {"same": drawn[0] == drawn[1]}


def example_features(path: Path, points: int) -> Path:
    """features.npz of clusters, a class each, in four sets that lie apart, `points` in all."""
    random, arrays = np.random.default_rng(0), {}
    centres = random.normal(0, 1, (CLUSTERS, DIMENSIONS))
    for name in ("source", "target", "adapted", "generated"):
        labels = np.arange(points // 4) % CLUSTERS
        shift = random.normal(0, 0.5, DIMENSIONS)
        features = centres[labels] + shift + random.normal(0, 1, (len(labels), DIMENSIONS))
        arrays |= {f"{name}.features": features.astype(np.float32), f"{name}.labels": labels}
    file = io.BytesIO()
    np.savez(file, **arrays)
    path.write_bytes(file.getvalue())
    return path
