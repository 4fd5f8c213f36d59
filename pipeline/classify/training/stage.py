"""The `train` stage: one training of one method on one task, and its records."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from pipeline import __version__
from pipeline.classify.evaluation.features import features_file, pictured_sets
from pipeline.classify.evaluation.selection import Score, predictions_file, score, target_predictions
from pipeline.classify.factory import make_method
from pipeline.classify.methods.tllib import version
from pipeline.classify.network import Network, build_network
from pipeline.classify.registry import check_setting
from pipeline.classify.training.batches import Labelled, Pool, check_labels, joined
from pipeline.classify.training.dg_batches import DomainBatches, split_domain
from pipeline.classify.training.loop import Loop, Watched
from pipeline.classify.training.transforms import Inputs, MakePool
from pipeline.config import MADE_SETS
from pipeline.core.checkpoint import CHECKPOINT
from pipeline.core.errors import UserError
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.generated import generated_files, load_generated
from pipeline.data.image_sets import ImageSet, Split, load_labelled, load_unlabelled
from pipeline.planning.kinds.train import TrainParams

EVALUATIONS = 10
"""How often a training is evaluated if a selection needs a choice and the settings do not say."""

SWAD_EVALUATIONS = 50
"""The same if its iterates are averaged: every 100 of 5,000 steps, as the authors of SWAD do."""


def run(params: TrainParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Train; write records.json, predictions.npz, history.csv, features.npz, and model.safetensors if `settings.keep_weights`.

    With averaging, averaging.json says of which steps the network is the average (see Averaging.finish), and all
    selections take that one network.
    inputs: `data`, a prepare artifact, and those of MADE_SETS that enter training.
    """
    with reproducible(params.threads):
        entering = [name for name in MADE_SETS if name in inputs]
        # Crops are taken of files, so that a training does not hold all made images.
        load = load_generated if params.settings.crop == "none" else generated_files
        made = {name: load(inputs[name]) for name in entering}
        loop = _make_loop(params, inputs["data"], made, workspace / "scratch" / CHECKPOINT)
        loop.run(progress)
        labels, predictions = target_predictions(
            inputs["data"], params.target, params.selections, loop.evaluations
        )
        scores = {name: score(said, labels, len(params.classes)) for name, said in predictions.items()}
        library = version() if loop.method.uses_library else ""
        write_atomic(
            workspace / "records.json", json.dumps(_records(params, scores, library), indent=1) + "\n"
        )
        write_atomic(workspace / "predictions.npz", predictions_file(labels, predictions))
        write_atomic(workspace / "history.csv", _table(loop.history))
        if loop.averaged is not None:
            write_atomic(workspace / "averaging.json", json.dumps(loop.averaged) + "\n")
        pictured = pictured_sets(inputs["data"], params.sources, params.target, made, len(params.classes))
        evaluation = _inputs(params, loop.network).evaluation
        write_atomic(workspace / "features.npz", features_file(loop.network, pictured, evaluation))
        if params.settings.keep_weights:
            weights = {name: tensor.contiguous() for name, tensor in loop.network.state_dict().items()}
            write_atomic(workspace / "model.safetensors", save(weights))


def _make_loop(params: TrainParams, data: Path, made: dict[str, ImageSet], checkpoint: Path) -> Loop:
    """The training that `params` describe, before its first step."""
    settings, seed, classes = params.settings, params.seed, len(params.classes)
    network = build_network(settings, classes, derive(seed, "network"))
    if network.image_size not in (None, params.image_size):
        raise UserError(
            f"backbone {settings.backbone} takes images of {network.image_size} pixels alone, not the "
            f"{params.image_size} of {params.dataset}; name another one in train.backbone"
        )
    domains = len(params.sources) + (params.setting == "dg" and bool(made))
    method = make_method(params.method, params.hyperparameters, network, derive(seed, "method"), domains)
    check_setting(params.method, params.setting)
    inputs = _inputs(params, network)

    def pool(images: ImageSet, what: str, use: MakePool) -> Pool:
        check_labels(images, classes, what)
        return use(images)

    def labelled(split: Split, use: MakePool) -> Pool:
        (source,) = params.sources
        return pool(load_labelled(data, source, split), f"{source} ({split})", use)

    def unlabelled(split: Split, use: MakePool) -> Pool:
        return pool(load_unlabelled(data, params.target, split), f"{params.target} ({split})", use)

    training, evaluation = inputs.training, inputs.evaluation
    entering = pool(joined(made.values()), f"{params.augmentation} images", training) if made else None
    if params.setting == "dg":
        learned, held_out = [], []
        for name in params.sources:
            kept, held = split_domain(data, name, settings.holdout, seed)
            learned.append(pool(kept, name, training))
            held_out.append(pool(held, name, evaluation))
        batches = DomainBatches(tuple(learned), entering, params.made_weight)
    else:
        batches = Labelled(labelled("train", training), entering, params.made_fraction)
        held_out = [labelled("test", evaluation)]
    return Loop(
        network,
        method,
        batches,
        unlabelled("train", training) if method.uses_target else None,
        Watched(held_out, unlabelled("test", evaluation), _evaluate_every(params)),
        settings,
        derive(seed, "batches"),
        checkpoint,
    )


def _inputs(params: TrainParams, network: Network) -> Inputs:
    """How images reach `network`."""
    return Inputs(params.image_size, network.mean, network.std, params.settings)


def _evaluate_every(params: TrainParams) -> int:
    """After how many steps to evaluate: at the end alone, if that is all that is needed."""
    settings = params.settings
    if settings.evaluate_every is not None:
        return settings.evaluate_every
    if settings.averaging == "swad":
        return max(1, settings.iterations // SWAD_EVALUATIONS)
    if set(params.selections) <= {"last"}:
        return settings.iterations
    return max(1, settings.iterations // EVALUATIONS)


def _records(params: TrainParams, scores: dict[str, Score], library: str) -> list[dict[str, Any]]:
    """One record for each selection. library: the package and version that the method's losses are from."""
    made_by = {"version": __version__, "library": library}
    return [
        params.identity() | {"selection": selection} | asdict(score) | made_by
        for selection, score in scores.items()
    ]


def _table(rows: list[dict[str, float]]) -> str:
    """`rows` as CSV, with the columns of all of them; empty where a row has no value."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
