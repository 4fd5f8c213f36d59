"""Export records: as a tidy table (CSV, Parquet), or as curves over seeds (TensorBoard, Weights & Biases)."""

import importlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd

from pipeline.config import read_card
from pipeline.core.errors import UserError
from pipeline.core.paths import yaml_files
from pipeline.core.store import write_atomic
from pipeline.report.suite_report import report_for
from pipeline.report.tables.csv_text import to_csv
from pipeline.report.tables.names import row_name

FORMS = "FILE.csv, FILE.parquet, tensorboard:FOLDER or wandb:FOLDER"

Curve = tuple[str, dict[int, dict[str, float]]]
"""The name of a row, and for each seed numbers by tag."""

ALL = "all"
"""The value of the column `class` for an accuracy over all classes."""


def export(records: pd.DataFrame, source: Path, to: str) -> Path:
    """Write records to the place that `to` names.

    Args:
        records: The records.
        source: The file that they were read from, which is never overwritten.
        to: One of `FORMS`.

    Returns:
        The file or folder that was written.

    Raises:
        UserError: `to` names nothing that can be written.
    """
    report = report_for(records["setting"].iloc[0] if len(records) else "uda")
    kind, colon, place = to.partition(":")
    if colon and kind in ("tensorboard", "wandb"):
        folder = Path(place)
        if not place or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise UserError(
                f"--to {to}: expected a new or empty folder after {kind}:, because runs would mix"
            )
        (to_tensorboard if kind == "tensorboard" else to_wandb)(report.curves(records), folder)
        return folder
    path = Path(to)
    if path.resolve() == source.resolve():
        raise UserError(f"--to {to}: these are the records themselves; name another file")
    if path.suffix == ".csv":
        write_atomic(path, to_csv(report.tidy(records)))
    elif path.suffix == ".parquet":
        needed("pyarrow", "Parquet")
        file = io.BytesIO()
        report.tidy(records).to_parquet(file, engine="pyarrow", index=False)
        write_atomic(path, file.getvalue())
    else:
        raise UserError(f"--to {to}: expected {FORMS}")
    return path


def tidy_accuracies(records: pd.DataFrame) -> pd.DataFrame:
    """Return one accuracy a row: the one over all classes, whose `class` is `all`, then one for each class.

    Classes are numbered from 0 where no dataset card names them. An accuracy that was not measured is
    missing.
    """
    plain = records.drop(columns="per_class")
    whole = plain.copy()
    whole["class"], whole["order"] = ALL, -1
    classes = plain.drop(columns="accuracy").assign(accuracy=records["per_class"]).explode("accuracy")
    classes = classes[records["per_class"].str.len().reindex(classes.index) > 0].copy()
    order = classes.groupby(level=0).cumcount()
    names = {dataset: class_names(dataset) for dataset in set(records["dataset"])}
    labelled = [
        names[dataset][place] if place < len(names[dataset]) else str(place)
        for dataset, place in zip(classes["dataset"], order, strict=True)
    ]
    classes["class"], classes["order"] = labelled, order
    classes["accuracy"] = classes["accuracy"].astype(float)
    both = pd.concat([whole, classes]).rename_axis("row").sort_values(["row", "order"])
    columns = [name for name in records.columns if name != "per_class"]
    columns.insert(columns.index("accuracy"), "class")
    return both[columns].reset_index(drop=True)


def class_names(dataset: str) -> list[str]:
    """Return the class names of a dataset card, or an empty list if there is no such card."""
    return read_card(dataset).classes if dataset in yaml_files("datasets") else []


def accuracy_curves(records: pd.DataFrame) -> Iterator[Curve]:
    """Yield the name of each row of the tables, and each seed's accuracies (percent) by `SELECTION/TASK`."""
    curves: dict[str, dict[int, dict[str, float]]] = {}
    for record in records[records["accuracy"].notna()].to_dict("records"):
        row = row_name(record["method"], record["augmentation"])
        of_seed = curves.setdefault(f"{record['suite']}/{row} ({record['backbone']})", {})
        tag = f"{record['selection']}/{record['task']}"
        of_seed.setdefault(record["seed"], {})[tag] = record["accuracy"]
    yield from curves.items()


def to_tensorboard(curves: Iterable[Curve], folder: Path) -> None:
    """Write event files: one run for each row of the tables, with the seed as step."""
    writer = needed("tensorboard.summary.writer.event_file_writer", "TensorBoard")
    event = needed("tensorboard.compat.proto.event_pb2", "TensorBoard")
    summary = needed("tensorboard.compat.proto.summary_pb2", "TensorBoard")
    for name, of_seed in curves:
        suite, _, row = name.partition("/")  # the row may name a backbone OWNER/NAME
        file = writer.EventFileWriter(str(folder / suite / row.replace("/", "-").replace("\\", "-")))
        for seed, values in of_seed.items():
            scalars = [summary.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            file.add_event(event.Event(step=seed, summary=summary.Summary(value=scalars)))
        file.close()


def to_wandb(curves: Iterable[Curve], folder: Path) -> None:
    """Write offline runs of Weights & Biases, which `wandb sync` uploads."""
    wandb = needed("wandb", "Weights & Biases")
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_seed in curves:
        project, _, title = name.partition("/")
        run = wandb.init(mode="offline", dir=str(folder), project=project, name=title, reinit=True)
        for seed, values in sorted(of_seed.items()):
            run.log(values, step=seed)
        run.finish()


def needed(module: str, what: str) -> ModuleType:
    """Import `module`, or raise a UserError with the command that installs its package."""
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{what} needs the package {package}: pip install {package}") from error
