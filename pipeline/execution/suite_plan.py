"""From a suite to its plan: everything is checked that can be known before a job runs. Imports no torch."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from pipeline import config
from pipeline.classify import plugins, registry
from pipeline.classify.training_checks import faults_on_card
from pipeline.config import AnySuite, DatasetCard
from pipeline.core.errors import FaultyFileError, UserError
from pipeline.core.job import Job
from pipeline.planning.graph import AnyPlan, make_plan

DOMAIN_FIELDS = {"source", "sources", "target", "domain", "domains"}
"""The fields of jobs' parameters that state domains."""


def use_plugins(paths: Iterable[Path]) -> None:
    """Make the methods of the plug-ins at `paths` available, instead of those of an earlier call."""
    registry.use([plugins.given(path) for path in paths])


def plan_of(suite: AnySuite) -> AnyPlan:
    """Expand a suite into its graph of jobs.

    Raises:
        UserError: The suite cannot be run, because a method, a dataset, weights or a task does not exist.
    """
    suite = config.resolve_pretrained(suite)
    for check in _method_checks(suite):
        check()
    card = config.resolve_card(config.read_card(suite.dataset))
    _check_trainings(suite, card)
    base_model = config.resolve_base_model(suite.base_model)
    config.check_steps(suite)
    return make_plan(suite, card, base_model, registry.plugged_in(), registry.versions())


def _check_trainings(suite: AnySuite, card: DatasetCard) -> None:
    """Raise FaultyFileError for what the trainings of a suite will refuse on its dataset."""
    faults = list(dict.fromkeys(faults_on_card(suite, card))) if isinstance(suite, config.Suite) else []
    if faults:
        raise FaultyFileError(faults)


def check_domains(card: DatasetCard, jobs: Iterable[Job]) -> None:
    """Check that the images of every domain that `jobs` use were imported.

    A dataset may be imported in part, which is enough for the tasks between the domains that are there.

    Raises:
        UserError: A job uses a domain without images.
    """
    absent = config.absent_domains(card)
    if not absent:
        return
    for job in (each for each in jobs if each.kind != "prepare"):  # prepares the domains that are there
        used = sorted(_domains_in(job.params.model_dump()) & set(absent), key=absent.index)
        if used:
            there = ", ".join(domain for domain in card.domains if domain not in absent)
            raise UserError(
                f"{card.name} was imported without {', '.join(used)}, which {job.label} uses: import a "
                f"folder that has it, or keep to {there}, by `tasks` in the suite or by --only task=..."
            )


def _domains_in(params: object) -> set[str]:
    """Collect what the parameters of a job state in fields of domains, at any depth."""
    if isinstance(params, list):
        return set().union(*map(_domains_in, params))
    if not isinstance(params, dict):
        return set()
    found = set()
    for name, value in params.items():
        found |= _domains_in(value)
        if name in DOMAIN_FIELDS:
            found |= {
                each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)
            }
    return found


def faults_of(suite: AnySuite) -> list[str]:
    """Say why a suite cannot be run: one sentence for each fault, none if `plan_of` takes the suite."""
    checks: list[Callable[[], object]] = [
        partial(config.read_card, suite.dataset),
        partial(config.resolve_base_model, suite.base_model),
        partial(config.check_steps, suite),
        partial(config.resolve_pretrained, suite),
        *_method_checks(suite),
    ]
    found = [sentence for check in checks for sentence in _sentences(check)]
    return list(dict.fromkeys(found or _sentences(partial(_plan_on_images, suite))))


def _plan_on_images(suite: AnySuite) -> None:
    """Check that the whole suite can be planned and its domains have images."""
    plan = plan_of(suite)
    check_domains(plan.card, plan.jobs)


def _method_checks(suite: AnySuite) -> Iterator[Callable[[], None]]:
    """Yield the checks of the suite's methods: that each exists, and fits the setting."""
    for method in suite.classifiers:
        yield partial(_check_method, method, suite)


def _check_method(method: config.MethodSpec, suite: AnySuite) -> None:
    registry.check_method(method)
    registry.check_setting(method.name, suite.setting)
    if isinstance(suite, config.Suite) and not method.zero_shot:
        registry.check_processes(method.name, suite.train_settings(method).processes)


def _sentences(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except FaultyFileError as error:
        return list(error.faults)
    except UserError as error:
        return [str(error)]
    return []
