"""The suite that the user named: its plan, its store, its folder of results."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.core.store import Store
    from pipeline.planning.graph import Plan
    from pipeline.planning.morphs import MorphPlan


def open_any_suite(options: argparse.Namespace) -> "tuple[Plan | MorphPlan, Store, Path]":
    """Expand the suite that the user named, of any setting.

    Returns:
        Its plan, its store, and its results folder.
    """
    from pipeline import config
    from pipeline.config import MorphSuite
    from pipeline.core.store import Store
    from pipeline.execution.suite_plan import plan_of, use_plugins

    use_plugins(options.plugin)
    suite = config.read_any_suite(options.suite)
    if isinstance(suite, MorphSuite) and getattr(options, "only", None):
        raise UserError(f"--only is for suites of trainings; {suite.name} compares morphs")
    return plan_of(suite), Store(store_root(options)), results_root(options) / suite.name


def open_suite(options: argparse.Namespace) -> "tuple[Plan, Store, Path]":
    """Expand the suite of trainings that the user named; see `open_any_suite`.

    Raises:
        UserError: The suite compares morphs.
    """
    from pipeline import config
    from pipeline.planning.graph import Plan

    config.read_suite(options.suite)  # refuses a suite of morphs
    plan, store, folder = open_any_suite(options)
    assert isinstance(plan, Plan)
    return plan, store, folder


def store_root(options: argparse.Namespace) -> Path:
    """The folder of the store that the user named, or the usual one."""
    from pipeline import config

    return config.store_folder(options.store)


def results_root(options: argparse.Namespace) -> Path:
    """The folder of the suites' folders that the user named, or the usual one."""
    from pipeline import config

    return config.results_folder(options.results)
