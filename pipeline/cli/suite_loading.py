"""Open the suite that the user named: its plan, its store, and its results folder."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.core.store import Store
    from pipeline.planning.graph import AnyPlan
    from pipeline.planning.trainings import TrainingPlan


def open_suite(options: argparse.Namespace) -> "tuple[AnyPlan, Store, Path]":
    """Return the plan of the suite that the user named, its store, and its results folder."""
    from pipeline import config
    from pipeline.core.store import Store
    from pipeline.execution.suite_plan import plan_of, use_plugins

    use_plugins(options.plugin)
    suite = config.read_suite(options.suite)
    return plan_of(suite), Store(store_root(options)), results_root(options) / suite.name


def open_training_suite(options: argparse.Namespace) -> "tuple[TrainingPlan, Store, Path]":
    """Open a suite of trainings; see `open_suite`.

    Raises:
        UserError: The suite is of another setting.
    """
    from pipeline import config
    from pipeline.planning.trainings import TrainingPlan

    config.read_training_suite(options.suite)  # refuses other settings
    plan, store, folder = open_suite(options)
    assert isinstance(plan, TrainingPlan)
    return plan, store, folder


def store_root(options: argparse.Namespace) -> Path:
    """Return the folder of the store that the user named, or the default one."""
    from pipeline import config

    return config.store_folder(options.store)


def results_root(options: argparse.Namespace) -> Path:
    """Return the folder of results folders that the user named, or the default one."""
    from pipeline import config

    return config.results_folder(options.results)
