"""A suite becomes a graph of jobs. Pure: imports no torch, reads and writes nothing.

A job's key hashes its parameters, the version of the code that carries it out, its inputs' keys and, where a
plug-in's method trains, the plug-in's text, for which no version speaks. Two suites that state the same work share
it, and a changed setting remakes what depends on it and nothing else.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from pipeline.classify.plugins import Plugin
from pipeline.config import (
    MORPHS,
    AdapterSpec,
    AnalogiesParams,
    BaseModelSpec,
    BetweenParams,
    BuiltCard,
    Context,
    DatasetCard,
    DomainsParams,
    FinetuneParams,
    FlowParams,
    GenerateParams,
    GenerateSettings,
    Guidance,
    InterpolateParams,
    InversionSettings,
    MethodSpec,
    MorphsParams,
    PairLorasParams,
    PairParams,
    PrepareParams,
    ScoreParams,
    Setting,
    Strict,
    Suite,
    TPredictorParams,
    TrainParams,
    nearest,
    task_name,
)
from pipeline.core.errors import UserError

CODE_VERSION = {
    "prepare": 1,
    "t_predictor": 1,
    "finetune": 1,
    "generate": 3,
    "interpolate": 1,
    "pair_loras": 1,
    "between": 1,
    "morphs": 1,
    "score": 1,
    "flow": 1,
    "train": 1,
}
"""Raised by whoever changes what a kind of job makes from the same parameters: its old artifacts are then remade."""

PARAMS: dict[str, type[Strict]] = {
    "prepare": PrepareParams,
    "t_predictor": TPredictorParams,
    "finetune": FinetuneParams,
    "generate": GenerateParams,
    "interpolate": InterpolateParams,
    "pair_loras": PairLorasParams,
    "between": BetweenParams,
    "morphs": MorphsParams,
    "score": ScoreParams,
    "flow": FlowParams,
    "train": TrainParams,
}


@dataclass(frozen=True)
class Job:
    """One node: what to make, from which parameters and which other jobs' products."""

    kind: str
    params: Strict
    inputs: dict[str, "Job"]
    label: str
    """For people: `finetune MN->MM`."""
    plugin: Plugin | None = None
    """What declares the method of a training, unless this project does."""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        content = {
            "kind": self.kind,
            "version": CODE_VERSION[self.kind],
            "params": self.params.model_dump(mode="json"),
            "inputs": {role: job.key for role, job in self.inputs.items()},
        }
        if self.plugin is not None:
            content["plugin"] = self.plugin.sha256
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest()[:24])

    def __hash__(self) -> int:
        return hash((self.kind, self.key))


@dataclass(frozen=True)
class Cell:
    """One training of a suite: where its records stand in a table, and the job that makes them."""

    task: str
    method: str
    """Its label, which may not be the name of the method."""
    augmentation: str
    seed: int
    job: Job


@dataclass(frozen=True)
class AdapterJobs:
    """The jobs of stages one and two for one task and one adapter, or one way of morphing images under dg.

    made: those of the sets that enter training: adapted and generated, or under dg interpolated. times: the
    t-predictor, under dg. flow: the picture of the domain flow, under uda and if the suite asks for it.
    """

    finetune: Job
    made: dict[str, Job]
    times: Job | None = None
    flow: Job | None = None

    @property
    def of_stage_two(self) -> list[Job]:
        """Those that make images."""
        return [*self.made.values(), *([self.flow] if self.flow else [])]


@dataclass(frozen=True)
class TaskJobs:
    """The jobs of stages one and two for one task, by the adapter's name.

    sources: the domain that is learned from; under dg, all but the target.
    """

    sources: tuple[str, ...]
    target: str
    adapters: dict[str, AdapterJobs]


@dataclass(frozen=True)
class Plan:
    """All jobs of a suite, each after those it stands on, and what they are for."""

    suite: Suite
    card: DatasetCard
    jobs: list[Job]
    data: Job
    base: Job | None
    tasks: dict[str, TaskJobs]
    cells: list[Cell]


def parse_task(task: str, card: DatasetCard, setting: Setting = "uda") -> tuple[tuple[str, ...], str]:
    """The sources and the target: (('MN',), 'MM') from 'MN->MM' under uda, all others and 'MM' from '->MM' under dg.

    UserError if it is neither, or a domain does not exist.
    """
    source, arrow, target = (part.strip() for part in task.partition("->"))
    if not arrow or not target or bool(source) == (setting == "dg"):
        first, second = list(card.domains)[:2]
        like = f"->TARGET, the domain held out, such as ->{second}"
        if setting == "uda":
            like = f"SOURCE->TARGET, such as {first}->{second}"
        raise UserError(f"task {task!r}: under setting {setting}, expected {like}")
    for domain in (source, target) if source else (target,):
        if domain not in card.domains:
            raise UserError(
                f"task {task!r}: {card.name} has no domain {domain!r}; {nearest(domain, card.domains)}"
            )
    if source == target:
        raise UserError(f"task {task!r}: source and target are the same domain")
    return (source,) if source else _all_but(target, card), target


def _all_but(target: str, card: DatasetCard) -> tuple[str, ...]:
    return tuple(domain for domain in card.domains if domain != target)


def suite_tasks(suite: Suite, card: DatasetCard) -> list[tuple[tuple[str, ...], str]]:
    """The sources and the target of every task that the suite compares."""
    if suite.setting == "dg" and len(card.domains) < 3:
        raise UserError(
            f"setting dg needs at least three domains, one of them held out; {card.name} has "
            f"{len(card.domains)}"
        )
    if suite.tasks != "all":
        return [parse_task(task, card, suite.setting) for task in suite.tasks]
    if suite.setting == "dg":
        return [(_all_but(target, card), target) for target in card.domains]
    return [((source,), target) for source, target in permutations(card.domains, 2)]


def _words(card: DatasetCard) -> list[str]:
    return [card.word(label) for label in range(len(card.classes))]


def _sampling(suite: Suite, base: BaseModelSpec, guidance: Guidance) -> dict[str, Any]:
    """What every job of stage two is told."""
    settings = suite.generate
    return {
        "base_model": base,
        "guidance": guidance,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "scale": settings.scale,
        "precision": settings.precision,
        "source_prompt": suite.finetune.source_prompt,
        "target_prompt": suite.finetune.target_prompt,
        "seed": settings.seed,
        "threads": suite.threads,
    }


def _inversion(settings: GenerateSettings, inverted: bool) -> InversionSettings:
    """Of images that are made from others, which are inverted; the rest start from noise."""
    return InversionSettings(
        depth=settings.inversion_depth if inverted else 1.0,
        refinements=settings.inversion_refinements,
        statistics=settings.inversion_statistics if inverted else "own",
    )


def _per_class(suite: Suite, card: DatasetCard, contents: str) -> int | None:
    """How many images of each class a set has; None: every source image. The control has as many as adapters make."""
    settings, classes = suite.generate, len(card.classes)
    adapted = None if settings.adapted is None else -(-settings.adapted // classes)
    if contents != "base":
        return adapted if contents == "adapted" else settings.generated
    if suite.setting == "dg":
        made = [spec for name in suite.augmentations if (spec := suite.adapter_of(name))] or [suite.adapter]
        return max(settings.grid.most(spec.t_dim) for spec in made) * settings.grid.per_class
    images = sum(domain.train for domain in card.domains.values()) // len(card.domains)
    each = {"adapted": adapted or -(-images // classes), "generated": settings.generated}
    return sum(each[name] for name in suite.mix.sets)


def _generate(
    suite: Suite,
    card: DatasetCard,
    base: BaseModelSpec,
    contents: str,
    pair: PairParams | None,
    inputs: dict[str, Job],
    context: Context = "inversion",
) -> Job:
    params = GenerateParams(
        contents=contents,
        pair=pair,
        words=_words(card),
        per_class=_per_class(suite, card, contents),
        inversion=_inversion(suite.generate, inverted=contents == "adapted" and context == "inversion"),
        context=context,
        **_sampling(suite, base, getattr(suite.generate, f"{contents}_guidance")),
    )
    what = f"{pair.source}->{pair.target} {contents}" if pair else "base"
    return Job("generate", params, inputs, f"generate {what}")


def _finetune(
    suite: Suite,
    base: BaseModelSpec,
    adapter: AdapterSpec,
    what: dict[str, Strict | None],
    label: str,
    inputs: dict[str, Job],
) -> Job:
    params = FinetuneParams(
        base_model=base, adapter=adapter, settings=suite.finetune, threads=suite.threads, **what
    )
    return Job("finetune", params, inputs, f"finetune {label}")


def analogies_of(spec: AdapterSpec, name: str, task: PairParams, card: DatasetCard) -> AnalogiesParams:
    """The pairs from which the LoRWeB `name` learns for a task: its own, or those that the suite names.

    UserError if one does not exist, or would have it read labels of the task's target.
    """
    if spec.analogy.pairing == "exact" and not isinstance(card, BuiltCard):
        raise UserError(
            f"adapter {name}: pairing: exact renders digits, and {card.name} is none; take random or pseudo"
        )
    pairs = []
    for text in spec.analogy.pairs or [f"{task.source}->{task.target}"]:
        (source,), target = parse_task(text, card)
        if source == task.target:
            raise UserError(
                f"adapter {name}: analogy.pairs names {text}, which would read the labels of {source}, the target of "
                f"task {task.source}->{task.target}; leave the pair out, or the task"
            )
        pairs.append(PairParams(source=source, target=target, words=task.words))
    return AnalogiesParams(pairs=pairs)


def _pair_jobs(
    suite: Suite, card: DatasetCard, base: BaseModelSpec, name: str, source: str, target: str, data: Job
) -> AdapterJobs:
    """Stages one and two of the adapter `name` under uda, for one ordered pair."""
    pair, spec = PairParams(source=source, target=target, words=_words(card)), suite.adapter_of(name)
    shown = f"{source}->{target}" + ("" if name == "terra" else f" {name}")
    by_analogy = spec.type == "lorweb"
    if by_analogy:
        analogies = analogies_of(spec, name, pair, card)
        told = {"pair": None, "analogies": analogies}
        taught = " ".join(f"{one.source}->{one.target}" for one in analogies.pairs)
        finetune = _finetune(suite, base, spec, told, f"{taught} {name}", {"data": data})
    else:
        finetune = _finetune(suite, base, spec, {"pair": pair}, shown, {"data": data})
    made, context = {}, spec.analogy.context if by_analogy else "inversion"
    for contents in suite.mix.sets:
        inputs = {"adapter": finetune} | ({"data": data} if contents == "adapted" or by_analogy else {})
        made[contents] = _generate(suite, card, base, contents, pair, inputs, context)
    flow, settings = None, suite.generate.flow
    if settings is not None and spec.type == "terra":  # nothing else has a t to flow along
        params = FlowParams(
            pair=pair,
            inversion=_inversion(suite.generate, inverted=True),
            examples=settings.examples,
            times=settings.times,
            **_sampling(suite, base, suite.generate.adapted_guidance),
        )
        flow = Job("flow", params, {"adapter": finetune, "data": data}, f"flow {shown}")
    return AdapterJobs(finetune, made, flow=flow)


def _domains_jobs(
    suite: Suite, card: DatasetCard, base: BaseModelSpec, name: str, sources: tuple[str, ...], data: Job
) -> AdapterJobs:
    """Stages one and two of the adapter `name` under dg, over all source domains; none knows which one is held out."""
    spec, domains, shown = suite.adapter_of(name), list(sources), f"{'+'.join(sources)}"
    predictor = TPredictorParams(
        domains=domains,
        t_dim=spec.t_dim,
        image_size=card.image_size,
        settings=suite.t_predictor,
        threads=suite.threads,
    )
    times = Job("t_predictor", predictor, {"data": data}, f"t_predictor {shown}, t of {spec.t_dim}")
    known = DomainsParams(sources=domains, words=_words(card))
    inputs = {"data": data, "times": times}
    finetune = _finetune(suite, base, spec, {"pair": None, "domains": known}, f"{shown} {name}", inputs)
    from_sources = suite.generate.grid.start == "source"
    params = InterpolateParams(
        domains=known,
        grid=suite.generate.grid,
        inversion=_inversion(suite.generate, inverted=from_sources),
        **_sampling(suite, base, suite.generate.interpolated_guidance),
    )
    inputs = {"adapter": finetune, "times": times} | ({"data": data} if from_sources else {})
    interpolated = Job("interpolate", params, inputs, f"interpolate {shown} {name}")
    return AdapterJobs(finetune, {"interpolated": interpolated}, times=times)


def _morph_jobs(
    suite: Suite, card: DatasetCard, base: BaseModelSpec, name: str, sources: tuple[str, ...], data: Job
) -> AdapterJobs:
    """Stages one and two of the morphing method `name` under dg, over all source domains."""
    settings, shown = suite.generate.between, "+".join(sources)
    told = {
        "domains": DomainsParams(sources=list(sources), words=_words(card)),
        "base_model": base,
        "pairs": settings.pairs,
        "prompt": suite.finetune.source_prompt,
        "morph": settings.morph,
        "threads": suite.threads,
    }
    loras = Job("pair_loras", PairLorasParams(**told), {"data": data}, f"pair_loras {shown}")
    params = BetweenParams(method=name, frames=settings.frames, **told)
    between = Job("between", params, {"data": data, "loras": loras}, f"between {shown} {name}")
    return AdapterJobs(loras, {"interpolated": between})


def _task_jobs(
    suite: Suite,
    card: DatasetCard,
    base: BaseModelSpec,
    name: str,
    sources: tuple[str, ...],
    target: str,
    data: Job,
) -> AdapterJobs:
    """Stages one and two of the augmentation `name`, which is an adapter's or, under dg, a morphing method's."""
    if suite.setting == "uda":
        return _pair_jobs(suite, card, base, name, sources[0], target, data)
    jobs = _domains_jobs if suite.adapter_of(name) is not None else _morph_jobs
    return jobs(suite, card, base, name, sources, data)


def _train(
    suite: Suite,
    card: DatasetCard,
    sources: tuple[str, ...],
    target: str,
    method: MethodSpec,
    augmentation: str,
    seed: int,
    inputs: dict[str, Job],
    plugin: Plugin | None,
) -> Cell:
    params = TrainParams(
        dataset=card.name,
        setting=suite.setting,
        sources=list(sources),
        target=target,
        classes=card.classes,
        image_size=card.image_size,
        method=method.name,
        hyperparameters=method.hyperparameters,
        augmentation=augmentation,
        made_fraction=suite.mix.made_fraction if augmentation != "none" else None,
        made_weight=suite.mix.made_weight if augmentation != "none" else 1.0,
        settings=suite.train_settings(method),
        selections=suite.selections,
        seed=seed,
        threads=suite.threads,
    )
    name = suite.label(method)
    label = f"train {params.task} {name} {augmentation} seed {seed}"
    return Cell(params.task, name, augmentation, seed, Job("train", params, inputs, label, plugin))


def ordered(ends: Iterable[Job]) -> list[Job]:
    """Every job that `ends` stand on, and they themselves, each once and after its inputs."""
    done: dict[str, Job] = {}

    def visit(job: Job) -> None:
        if job.key not in done:
            for needed in job.inputs.values():
                visit(needed)
            done[job.key] = job

    for end in ends:
        visit(end)
    return list(done.values())


def make_plan(
    suite: Suite, card: DatasetCard, base_model: BaseModelSpec, plugins: Mapping[str, Plugin] | None = None
) -> Plan:
    """The graph of jobs of `suite`.

    base_model: with the revision that config.resolve_base_model found.
    plugins: what declares the methods that this project does not, by the method's name.
    """
    data = Job("prepare", PrepareParams(card=card), {}, f"prepare {card.name}")
    base = None
    if "base" in suite.augmentations:
        base = _generate(suite, card, base_model, "base", None, {})
    tasks: dict[str, TaskJobs] = {}
    cells: list[Cell] = []
    for sources, target in suite_tasks(suite, card):
        adapters = {
            name: _task_jobs(suite, card, base_model, name, sources, target, data)
            for name in suite.augmentations
            if suite.adapter_of(name) is not None or name in MORPHS
        }
        task = task_name(suite.setting, sources, target)
        tasks[task] = TaskJobs(sources, target, adapters)
        made = {name: jobs.made for name, jobs in adapters.items()}
        if base is not None:
            made["base"] = {"base": base}
        for method in suite.methods:
            plugin = (plugins or {}).get(method.name)
            for augmentation in suite.augmentations:
                inputs = {"data": data} | made.get(augmentation, {})
                for seed in suite.seeds:
                    cells.append(
                        _train(suite, card, sources, target, method, augmentation, seed, inputs, plugin)
                    )
    # The long jobs first, so that those that are left for the end, when workers run out of work, are short.
    long = [job for task in tasks.values() for made in task.adapters.values() for job in made.of_stage_two]
    jobs = ordered([*long, *(cell.job for cell in cells)])
    return Plan(suite, card, jobs, data, base, tasks, cells)
