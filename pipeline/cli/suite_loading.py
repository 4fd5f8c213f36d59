"""Open the suite that the user named: its plan, its store, and its results folder."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT

if TYPE_CHECKING:
    from pipeline.core.store import Store
    from pipeline.planning.graph import AnyPlan
    from pipeline.planning.trainings import TrainingPlan


def open_suite(options: argparse.Namespace) -> "tuple[AnyPlan, Store, Path]":
    """Return the plan of the suite that the user named, its store, and its results folder."""
    from pipeline import config
    from pipeline.classify import plugins, registry
    from pipeline.core.store import Store
    from pipeline.planning.graph import make_plan

    registry.use(plugins.given(path) for path in options.plugin)
    suite = config.resolve_pretrained(config.read_suite(options.suite))
    registry.check_suite(suite)
    card = config.resolve_card(config.read_card(suite.dataset))
    base_model = config.resolve_base_model(suite.base_model)
    plan = make_plan(suite, card, base_model, registry.plugged_in())
    return plan, Store(store_root(options)), results_root(options) / suite.name


def open_training_suite(options: argparse.Namespace) -> "tuple[TrainingPlan, Store, Path]":
    """Open a suite of trainings; see `open_suite`.

    Raises:
        UserError: The suite is of another setting.
    """
    from pipeline.planning.trainings import TrainingPlan

    plan, store, folder = open_suite(options)
    if not isinstance(plan, TrainingPlan):
        raise UserError(
            f"{plan.suite.name} is a suite of setting {plan.suite.setting}; this command needs a suite of trainings "
            "(setting uda or dg)"
        )
    return plan, store, folder


def store_root(options: argparse.Namespace) -> Path:
    """Return the folder of the store that the user named, or the default one."""
    from pipeline import config

    return config.store_folder(options.store)


def results_root(options: argparse.Namespace) -> Path:
    """Return the folder of results folders that the user named, or the default one."""
    folder: Path = options.results or ROOT / "results"
    return folder
