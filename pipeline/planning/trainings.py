"""Plan suites of trainings (uda, dg): stages one and two of every task, and a training for each cell."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from pipeline.config import MORPHS, BaseModelSpec, DatasetCard, FolderCard, MethodSpec, Suite, task_name
from pipeline.core.job import Job
from pipeline.core.plugin import Plugin
from pipeline.planning import dg, uda
from pipeline.planning.graph import Cell, Plan, ordered
from pipeline.planning.kinds.prepare import PrepareParams
from pipeline.planning.kinds.train import TrainParams
from pipeline.planning.kinds.zero_shot import ZeroShotParams
from pipeline.planning.stages import AdapterJobs, Stages, TaskJobs
from pipeline.planning.tasks import suite_tasks


@dataclass(frozen=True)
class TrainingCell(Cell):
    """One training of a suite, or the evaluation of a method that is not trained.

    Attributes:
        task: The name of the task.
        method: The label of the method, which a suite can set to something else than its name.
        augmentation: The augmentation.
        seed: The seed.
    """

    FIELDS = ("task", "method", "augmentation", "seed")

    task: str
    method: str
    augmentation: str
    seed: int


@dataclass(frozen=True)
class TrainingPlan(Plan[Suite, TrainingCell]):
    """A suite of trainings with its graph and its cells.

    Attributes:
        data: The job that prepares the dataset.
        base: The job that makes the images of the control, if the suite has it.
        tasks: The jobs of stages one and two of each task, by the task's name.
    """

    compared_unit = "task"

    data: Job
    base: Job | None
    tasks: dict[str, TaskJobs]

    @property
    def compared(self) -> list[str]:
        """The names of the tasks."""
        return list(self.tasks)

    def part(self, cells: list[TrainingCell]) -> Self:
        """Return the plan of some of its cells, with their tasks alone."""
        own = {cell.task for cell in cells}
        tasks = {name: jobs for name, jobs in self.tasks.items() if name in own}
        return replace(super().part(cells), tasks=tasks)


def plan_suite(
    suite: Suite,
    card: DatasetCard,
    base_model: BaseModelSpec,
    plugins: Mapping[str, Plugin],
    versions: Mapping[str, int],
) -> TrainingPlan:
    """Return the plan of a suite of trainings; see `graph.make_plan`.

    Args:
        suite: The suite.
        card: The card of its dataset.
        base_model: Its base model, with the revision that config.resolve_base_model found.
        plugins: The plug-ins that declare methods which this project does not, by the method's name.
        versions: The versions of methods whose version is not 1, by the method's name.

    Raises:
        UserError: The suite names a task, a domain or an analogy that this dataset does not have.
    """
    data = Job("prepare", PrepareParams(card=card), {}, f"prepare {card.name}")
    stages = Stages(suite, card, base_model, data)
    base = stages.generate("base", None, {}) if "base" in suite.augmentations else None
    tasks: dict[str, TaskJobs] = {}
    cells: list[TrainingCell] = []
    for sources, target in suite_tasks(suite, card):
        adapters = {
            name: _adapter_jobs(stages, name, sources, target)
            for name in suite.augmentations
            if suite.adapter_of(name) is not None or name in MORPHS
        }
        tasks[task_name(suite.setting, sources, target)] = TaskJobs(sources, target, adapters)
        made = {name: jobs.made for name, jobs in adapters.items()}
        if base is not None:
            made["base"] = {"base": base}
        for method in suite.methods:
            if method.zero_shot:
                cells += _zero_shot_cells(suite, stages.words, method, sources, target, data, card)
                continue
            plugin, version = plugins.get(method.name), versions.get(method.name, 1)
            for augmentation in suite.augmentations:
                inputs = {"data": data} | made.get(augmentation, {})
                params = _train_params(suite, card, sources, target, method, version, augmentation)
                cells += [_cell(suite, method, params, seed, inputs, plugin) for seed in suite.seeds]
    # The long jobs come first: the jobs that are left when workers run out of work are then short.
    long = [job for task in tasks.values() for jobs in task.adapters.values() for job in jobs.of_stage_two]
    jobs = ordered([*long, *(cell.job for cell in cells)])
    return TrainingPlan(suite, card, jobs, cells, data, base, tasks)


def _adapter_jobs(stages: Stages, name: str, sources: tuple[str, ...], target: str) -> AdapterJobs:
    """Return the jobs of an augmentation, which is an adapter's or, under dg, a morphing method's."""
    if stages.suite.setting == "uda":
        return uda.adapter_jobs(stages, name, sources[0], target)
    if stages.suite.adapter_of(name) is not None:
        return dg.adapter_jobs(stages, name, sources)
    return dg.morph_jobs(stages, name, sources)


def _train_params(
    suite: Suite,
    card: DatasetCard,
    sources: tuple[str, ...],
    target: str,
    method: MethodSpec,
    version: int,
    augmentation: str,
) -> TrainParams:
    """Return the parameters of a training; the seed is the suite's first."""
    mixed = augmentation != "none"
    return TrainParams(
        dataset=card.name,
        setting=suite.setting,
        sources=list(sources),
        target=target,
        classes=card.classes,
        image_size=card.image_size,
        method=method.name,
        method_version=version,
        hyperparameters=method.hyperparameters,
        augmentation=augmentation,
        made_fraction=suite.mix.made_fraction if mixed else None,
        made_weight=suite.mix.made_weight if mixed else 1.0,
        settings=suite.train_settings(method),
        selections=suite.selections,
        seed=suite.seeds[0],
        orientation=card.orientation if isinstance(card, FolderCard) else "stored",
        threads=suite.threads,
    )


def _zero_shot_cells(
    suite: Suite,
    words: list[str],
    method: MethodSpec,
    sources: tuple[str, ...],
    target: str,
    data: Job,
    card: DatasetCard,
) -> list[TrainingCell]:
    """Return the cells of a method that is not trained: one for each seed, all of one job."""
    assert method.zero_shot is not None
    params = ZeroShotParams(
        dataset=card.name,
        setting=suite.setting,
        sources=list(sources),
        target=target,
        classes=card.classes,
        words=words,
        settings=method.zero_shot,
        selections=suite.selections,
        threads=suite.threads,
    )
    name = suite.label(method)
    job = Job("zero_shot", params, {"data": data}, f"evaluate {params.task} {name}")
    return [TrainingCell(job, params.task, name, "none", seed) for seed in suite.seeds]


def _cell(
    suite: Suite,
    method: MethodSpec,
    params: TrainParams,
    seed: int,
    inputs: dict[str, Job],
    plugin: Plugin | None,
) -> TrainingCell:
    """Return the cell of one seed."""
    name = suite.label(method)
    label = f"train {params.task} {name} {params.augmentation} seed {seed}"
    job = Job("train", params.model_copy(update={"seed": seed}), inputs, label, plugin)
    return TrainingCell(job, params.task, name, params.augmentation, seed)
