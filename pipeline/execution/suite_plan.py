"""From a suite to its plan: everything is checked that can be known before a job runs. Imports no torch."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from pipeline import config
from pipeline.classify import plugins, registry
from pipeline.config import AnySuite
from pipeline.core.errors import UserError
from pipeline.planning.graph import AnyPlan, make_plan


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
    return make_plan(suite, card, config.resolve_base_model(suite.base_model), registry.plugged_in())


def faults_of(suite: AnySuite) -> list[str]:
    """Say why a suite cannot be run: one sentence for each fault, none if `plan_of` takes the suite."""
    checks: list[Callable[[], object]] = [
        partial(config.read_card, suite.dataset),
        partial(config.resolve_base_model, suite.base_model),
        partial(config.resolve_pretrained, suite),
        *_method_checks(suite),
    ]
    found = [sentence for check in checks for sentence in _sentences(check)]
    return list(dict.fromkeys(found or _sentences(partial(plan_of, suite))))


def _method_checks(suite: AnySuite) -> Iterator[Callable[[], None]]:
    """Yield the checks of the suite's methods: that each exists, and fits the setting."""
    for method in suite.classifiers:
        yield partial(_check_method, method, suite.setting)


def _check_method(method: config.MethodSpec, setting: str) -> None:
    registry.check_method(method)
    registry.check_setting(method.name, setting)


def _sentences(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except UserError as error:
        return [str(error)]
    return []
