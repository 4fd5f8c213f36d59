"""The stage of `train` jobs: one training of one method on one task, and its records."""

import csv
import io
import json
from pathlib import Path

from safetensors.torch import save

from pipeline.classify import registry
from pipeline.classify.evaluation.features import features_file, figure_sets
from pipeline.classify.evaluation.selection import (
    EvaluationSets,
    TargetLabels,
    predictions_file,
    records_file,
    target_predictions,
)
from pipeline.classify.factory import make_method
from pipeline.classify.methods import tllib
from pipeline.classify.network import Network, build_network
from pipeline.classify.training.batches import LabelledBatches, Pool, check_labels, concatenate
from pipeline.classify.training.dg_batches import DomainBatches, split_domain, split_places
from pipeline.classify.training.loop import Loop
from pipeline.classify.training.sharing import connected, own_workspace, quiet, share_backbone
from pipeline.classify.training.transforms import Inputs, MakePool
from pipeline.classify.training_checks import check_backbone_fits
from pipeline.config import MADE_SETS
from pipeline.core.checkpoint import CHECKPOINT
from pipeline.core.plugin import Plugin
from pipeline.core.processes.launcher import launch
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, Split, load_labelled, load_unlabelled, load_whole
from pipeline.data.made_images import generated_files, load_generated
from pipeline.planning.kinds.train import TrainParams

EVALUATIONS = 10
"""The evaluations of a training whose selection rules need several, unless its settings say otherwise."""

SWAD_EVALUATIONS = 50
"""The same with averaging: every 100 of 5,000 steps, as the authors of SWAD do."""


def run(params: TrainParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Train a classifier, evaluate it, and write the files of the artifact.

    These are records.json, predictions.npz, history.csv and features.npz; with `settings.keep_weights`,
    model.safetensors; with averaging, averaging.json (see Averaging.finish), and all selection rules then
    choose the averaged network.

    Args:
        params: The parameters of the job.
        inputs: `data`, a prepare artifact, and those of MADE_SETS that enter training.
        workspace: The folder to write to.
        progress: Called after each step.
    """
    processes = params.settings.processes
    if processes > 1:
        launch("train", processes, train_share, (params, inputs, workspace, registry.in_use()), progress)
        return
    _train(params, inputs, workspace, progress)


def train_share(
    params: TrainParams, inputs: dict[str, Path], workspace: Path, plugins: list[Plugin], progress: Progress
) -> None:
    """Carry out `run` as one of several processes, all of which know the methods of `plugins`."""
    registry.use(plugins)
    with connected(), own_workspace(workspace) as folder:
        _train(params, inputs, folder, progress if folder == workspace else quiet)


def _train(params: TrainParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Carry out `run` in this process, or its share of it."""
    with reproducible(params.threads, params.settings.deterministic):
        entering = [name for name in MADE_SETS if name in inputs]
        # Crops are read from files, so that a training does not hold all made images in memory.
        load = load_generated if params.settings.crop == "none" else generated_files
        made = {name: load(inputs[name]) for name in entering}
        loop = _make_loop(params, inputs["data"], made, workspace / "scratch" / CHECKPOINT)
        loop.run(progress)
        target = _target_labels(params, inputs["data"])
        labels, predictions = target_predictions(target, params.selections, loop.evaluations)
        library = tllib.version() if loop.method.uses_library else ""
        write_atomic(
            workspace / "records.json",
            records_file(params.identity(), labels, predictions, len(params.classes), library),
        )
        write_atomic(workspace / "predictions.npz", predictions_file(labels, predictions))
        write_atomic(workspace / "history.csv", _table(loop.history))
        if loop.averaged is not None:
            write_atomic(workspace / "averaging.json", json.dumps(loop.averaged) + "\n")
        shown = figure_sets(inputs["data"], params.sources, params.target, made, len(params.classes))
        evaluation = _inputs(params, loop.network).evaluation
        write_atomic(workspace / "features.npz", features_file(loop.result, shown, evaluation))
        if params.settings.keep_weights:
            weights = {name: tensor.contiguous() for name, tensor in loop.result.state_dict().items()}
            write_atomic(workspace / "model.safetensors", save(weights))


def _make_loop(params: TrainParams, data: Path, made: dict[str, ImageSet], checkpoint: Path) -> Loop:
    """The training that `params` describe, before its first step."""
    settings, seed = params.settings, params.seed
    check_backbone_fits(settings, "train", params.image_size, params.dataset)
    network = build_network(settings, len(params.classes), derive(seed, "network"), params.image_size)
    domains = len(params.sources) + (params.setting == "dg" and bool(made))
    method = make_method(params.method, params.hyperparameters, network, derive(seed, "method"), domains)
    registry.check_setting(params.method, params.setting)
    registry.check_processes(params.method, settings.processes)
    if settings.processes > 1:
        share_backbone(network, method)
    pools = _Pools(params, data, _inputs(params, network))
    batches: LabelledBatches | DomainBatches
    if params.setting == "dg":
        sources, held_out = pools.split_sources()
        entering, of_made = pools.split_made(made)
        batches = DomainBatches(
            tuple(sources), entering, params.made_weight, replacement=settings.protocol == "domainbed"
        )
        held_out += of_made
    else:
        batches = LabelledBatches(
            pools.source("train"), pools.made(made) if made else None, params.made_fraction
        )
        held_out = [pools.source("test")]
    every = _evaluate_every(params)
    first = 1 if settings.protocol == "domainbed" else every
    return Loop(
        network,
        method,
        batches,
        pools.target("train") if method.uses_target else None,
        EvaluationSets(held_out, pools.evaluated_target(), every, first),
        settings,
        derive(seed, "batches"),
        checkpoint,
    )


class _Pools:
    """Makes the pools of a training. Train splits are augmented; test splits and held-out images are not."""

    def __init__(self, params: TrainParams, data: Path, inputs: Inputs) -> None:
        self.params, self.data = params, data
        self.uses: dict[Split, MakePool] = {"train": inputs.training, "test": inputs.evaluation}

    def _pool(self, images: ImageSet, what: str, split: Split) -> Pool:
        check_labels(images, len(self.params.classes), what)
        return self.uses[split](images)

    def source(self, split: Split) -> Pool:
        """A split of the source domain, under uda."""
        (source,) = self.params.sources
        return self._pool(load_labelled(self.data, source, split), f"{source} ({split})", split)

    def target(self, split: Split) -> Pool:
        """A split of the target domain, unlabelled."""
        target = self.params.target
        return self._pool(load_unlabelled(self.data, target, split), f"{target} ({split})", split)

    def evaluated_target(self) -> Pool:
        """The target's images that are evaluated, unlabelled: all of them in DomainBed's protocol."""
        if self.params.settings.protocol == "plain":
            return self.target("test")
        target = self.params.target
        return self._pool(load_whole(self.data, target, labelled=False), target, "test")

    def made(self, made: dict[str, ImageSet]) -> Pool:
        """The made images that enter training."""
        return self._pool(concatenate(made.values()), self._made_name, "train")

    def split_made(self, made: dict[str, ImageSet]) -> tuple[Pool | None, list[Pool]]:
        """The made images to train on, if there are any, and those held out in DomainBed's protocol."""
        if not made:
            return None, []
        if self.params.settings.protocol == "plain":
            return self.made(made), []
        whole = concatenate(made.values())
        kept, held = split_places(len(whole), self._made_name, self.params.settings, self.params.seed)
        return (
            self._pool(whole.take(kept), self._made_name, "train"),
            [self._pool(whole.take(held), self._made_name, "test")],
        )

    @property
    def _made_name(self) -> str:
        return f"{self.params.augmentation} images"

    def split_sources(self) -> tuple[list[Pool], list[Pool]]:
        """The images of each source domain to train on, and those held out, under dg."""
        learned, held_out = [], []
        for name in self.params.sources:
            kept, held = split_domain(self.data, name, self.params.settings, self.params.seed)
            learned.append(self._pool(kept, name, "train"))
            held_out.append(self._pool(held, name, "test"))
        return learned, held_out


def _target_labels(params: TrainParams, data: Path) -> TargetLabels:
    """The labels of the target's evaluated images. In DomainBed's protocol, the larger part is scored."""
    if params.settings.protocol == "plain":
        return TargetLabels.of_split(data, params.target)
    labels = load_whole(data, params.target).labels
    assert labels is not None
    return TargetLabels(labels, *split_places(len(labels), params.target, params.settings, params.seed))


def _inputs(params: TrainParams, network: Network) -> Inputs:
    """How images reach `network`."""
    return Inputs(params.image_size, network.mean, network.std, params.settings)


def _evaluate_every(params: TrainParams) -> int:
    """The number of steps between evaluations; all of them if only the last iterate can be chosen."""
    settings = params.settings
    if settings.evaluate_every is not None:
        return settings.evaluate_every
    if settings.averaging == "swad":
        return max(1, settings.iterations // SWAD_EVALUATIONS)
    if set(params.selections) <= {"last"}:
        return settings.iterations
    return max(1, settings.iterations // EVALUATIONS)


def _table(rows: list[dict[str, float]]) -> str:
    """`rows` as CSV, with the columns of all of them; a cell is empty where a row has no value."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
