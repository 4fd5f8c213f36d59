"""Stages one and two under uda: for every ordered pair of domains, an adapter and the images made with it."""

from pipeline.config import AdapterSpec, BuiltCard, DatasetCard, PairParams
from pipeline.core.errors import UserError
from pipeline.core.job import Job
from pipeline.planning.kinds.finetune import AnalogiesParams
from pipeline.planning.kinds.flow import FlowParams
from pipeline.planning.stages import AdapterJobs, Stages
from pipeline.planning.tasks import parse_task


def adapter_jobs(stages: Stages, name: str, source: str, target: str) -> AdapterJobs:
    """Return the jobs of the adapter `name` for one ordered pair of domains."""
    pair, spec = PairParams(source=source, target=target, words=stages.words), stages.adapter(name)
    label = f"{source}->{target}" + ("" if name == "terra" else f" {name}")
    data = {"data": stages.data}
    if spec.has_analogy:
        analogies = analogies_of(spec, name, pair, stages.card)
        learned = " ".join(f"{one.source}->{one.target}" for one in analogies.pairs)
        finetune = stages.finetune(spec, f"{learned} {name}", data, analogies=analogies)
    else:
        finetune = stages.finetune(spec, label, data, pair=pair)
    made: dict[str, Job] = {}
    for contents in stages.suite.mix.sets:
        inputs = {"adapter": finetune}
        if contents == "adapted" or spec.has_analogy:
            inputs |= data
        made[contents] = stages.generate(contents, pair, inputs, spec.context)
    return AdapterJobs(finetune, made, flow=_flow_job(stages, spec, pair, label, finetune))


def analogies_of(spec: AdapterSpec, name: str, task: PairParams, card: DatasetCard) -> AnalogiesParams:
    """Return the pairs of domains from which a LoRWeB learns for a task.

    They are those that the suite names, or else the pair of the task.

    Args:
        spec: The LoRWeB.
        name: Its name in the suite.
        task: The task.
        card: The card of the dataset.

    Raises:
        UserError: A pair does not exist, or the LoRWeB would read labels of the task's target.
    """
    assert spec.analogy is not None, "only a LoRWeB has analogies"
    if spec.analogy.pairing == "exact" and not isinstance(card, BuiltCard):
        raise UserError(
            f"adapter {name}: pairing: exact draws digits, and {card.name} has none; take random or pseudo"
        )
    pairs = []
    for text in spec.analogy.pairs or [f"{task.source}->{task.target}"]:
        (source,), target = parse_task(text, card)
        if source == task.target:
            raise UserError(
                f"adapter {name}: analogy.pairs names {text}, which would read the labels of {source}, the "
                f"target of task {task.source}->{task.target}; leave the pair out, or the task"
            )
        pairs.append(PairParams(source=source, target=target, words=task.words))
    return AnalogiesParams(pairs=pairs)


def _flow_job(stages: Stages, spec: AdapterSpec, pair: PairParams, label: str, finetune: Job) -> Job | None:
    """Return the job of the picture of the domain flow, if the suite has it and the adapter a time t."""
    settings = stages.suite.generate.flow
    if settings is None or not spec.has_time:
        return None
    params = FlowParams(
        pair=pair,
        inversion=stages.inversion(inverted=True),
        examples=settings.examples,
        times=settings.times,
        **stages.sampling(stages.suite.generate.adapted_guidance, adapted=True),
    )
    return Job("flow", params, {"adapter": finetune, "data": stages.data}, f"flow {label}")
