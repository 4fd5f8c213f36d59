"""Records for other programs: a tidy table as CSV or Parquet, or curves over seeds for TensorBoard and Weights & Biases."""

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd

from pipeline.config import read_card
from pipeline.core.errors import UserError
from pipeline.core.paths import yaml_files
from pipeline.core.store import write_atomic
from pipeline.report.tables.significance_text import row_name

FORMS = "FILE.csv, FILE.parquet, tensorboard:FOLDER or wandb:FOLDER"

ALL = "all"
"""What the column `class` says of an accuracy over all classes."""


def export(records: pd.DataFrame, source: Path, to: str) -> Path:
    """Write `records`, which were read from `source`, to what `to` names; the path of it. See FORMS."""
    kind, colon, place = to.partition(":")
    if colon and kind in ("tensorboard", "wandb"):
        folder = Path(place)
        if not place or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise UserError(
                f"--to {to}: expected a folder that is new or empty after {kind}:, for runs would mix"
            )
        (to_tensorboard if kind == "tensorboard" else to_wandb)(records, folder)
        return folder
    path = Path(to)
    if path.resolve() == source.resolve():
        raise UserError(f"--to {to}: these are the records themselves; name another file")
    if path.suffix == ".csv":
        write_atomic(path, tidy(records).to_csv(index=False, lineterminator="\n"))
    elif path.suffix == ".parquet":
        needed("pyarrow", "Parquet")
        file = io.BytesIO()
        tidy(records).to_parquet(file, engine="pyarrow", index=False)
        write_atomic(path, file.getvalue())
    else:
        raise UserError(f"--to {to}: expected {FORMS}")
    return path


def tidy(records: pd.DataFrame) -> pd.DataFrame:
    """One accuracy a row: that over all classes, whose `class` is all, then those of the classes, by name.

    Classes have numbers from 0 where no dataset card names them. An accuracy that was not measured is missing.
    """
    plain = records.drop(columns="per_class")
    whole = plain.assign(**{"class": ALL, "order": -1})
    classes = plain.drop(columns="accuracy").assign(accuracy=records["per_class"]).explode("accuracy")
    classes = classes[records["per_class"].str.len().reindex(classes.index) > 0]
    order = classes.groupby(level=0).cumcount()
    names = {dataset: class_names(dataset) for dataset in set(records["dataset"])}
    labelled = [
        names[dataset][place] if place < len(names[dataset]) else str(place)
        for dataset, place in zip(classes["dataset"], order, strict=True)
    ]
    classes = classes.assign(
        **{"class": labelled, "order": order, "accuracy": classes["accuracy"].astype(float)}
    )
    both = pd.concat([whole, classes]).rename_axis("row").sort_values(["row", "order"])
    columns = [name for name in records.columns if name != "per_class"]
    columns.insert(columns.index("accuracy"), "class")
    return both[columns].reset_index(drop=True)


def class_names(dataset: str) -> list[str]:
    """The names of a dataset's classes by its card; none if there is no such card any more."""
    return read_card(dataset).classes if dataset in yaml_files("datasets") else []


def curves(records: pd.DataFrame) -> Iterator[tuple[str, dict[int, dict[str, float]]]]:
    """For trackers: the name of every row, and for each of its seeds accuracies in percent by `SELECTION/TASK`."""
    there = records[records["accuracy"].notna()]
    for (suite, backbone, method, augmentation), row in there.groupby(
        ["suite", "backbone", "method", "augmentation"], sort=False
    ):
        name = f"{suite}/{row_name(method, augmentation)} ({backbone})"
        of_seed = row.assign(tag=row["selection"] + "/" + row["task"]).groupby("seed")
        yield name, {int(seed): dict(zip(g["tag"], g["accuracy"], strict=True)) for seed, g in of_seed}


def to_tensorboard(records: pd.DataFrame, folder: Path) -> None:
    """Event files, one run for each row of the tables; the step is the seed."""
    writer = needed("tensorboard.summary.writer.event_file_writer", "TensorBoard")
    event = needed("tensorboard.compat.proto.event_pb2", "TensorBoard")
    summary = needed("tensorboard.compat.proto.summary_pb2", "TensorBoard")
    for name, of_seed in curves(records):
        file = writer.EventFileWriter(str(folder / name))
        for seed, values in of_seed.items():
            scalars = [summary.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            file.add_event(event.Event(step=seed, summary=summary.Summary(value=scalars)))
        file.close()


def to_wandb(records: pd.DataFrame, folder: Path) -> None:
    """Offline runs of Weights & Biases, one for each row of the tables; the step is the seed. `wandb sync` sends them."""
    wandb = needed("wandb", "Weights & Biases")
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_seed in curves(records):
        project, _, title = name.partition("/")
        run = wandb.init(mode="offline", dir=str(folder), project=project, name=title, reinit=True)
        for seed, values in sorted(of_seed.items()):
            run.log(values, step=seed)
        run.finish()


def needed(module: str, what: str) -> ModuleType:
    """`module`, or UserError with the command that installs its package."""
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{what} needs the package {package}: pip install {package}") from error
