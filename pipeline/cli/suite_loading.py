"""The suite that the user named: its plan, its store, its folder of results."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT

if TYPE_CHECKING:
    from pipeline.core.store import Store
    from pipeline.planning.graph import Plan
    from pipeline.planning.morphs import MorphPlan


def open_any_suite(options: argparse.Namespace) -> "tuple[Plan | MorphPlan, Store, Path]":
    """As open_suite, of a suite of morphs too."""
    from pipeline import config
    from pipeline.core.store import Store
    from pipeline.planning.morphs import make_morph_plan

    suite = config.read_any_suite(options.suite)
    if not isinstance(suite, config.MorphSuite):
        return open_suite(options)
    if getattr(options, "only", None):
        raise UserError(f"--only is for suites of trainings; {suite.name} compares morphs")
    base_model = config.resolve_base_model(suite.base_model)
    plan = make_morph_plan(suite, config.read_card(suite.dataset), base_model)
    return plan, Store(store_root(options)), results_root(options) / suite.name


def open_suite(options: argparse.Namespace) -> "tuple[Plan, Store, Path]":
    """The plan of the suite that the user named, its store, and its folder under results/."""
    from pipeline import config
    from pipeline.classify import plugins, registry
    from pipeline.core.store import Store
    from pipeline.planning.graph import make_plan

    registry.use(plugins.given(path) for path in options.plugin)
    suite = config.resolve_pretrained(config.read_suite(options.suite))
    for method in suite.methods:
        registry.check_method(method)
        registry.check_setting(method.name, suite.setting)
    card = config.resolve_card(config.read_card(suite.dataset))
    base_model = config.resolve_base_model(suite.base_model)
    plan = make_plan(suite, card, base_model, registry.plugged_in())
    return plan, Store(store_root(options)), results_root(options) / suite.name


def store_root(options: argparse.Namespace) -> Path:
    """The folder of the store that the user named, or the usual one."""
    from pipeline import config

    return config.store_folder(options.store)


def results_root(options: argparse.Namespace) -> Path:
    """The folder of the suites' folders that the user named, or the usual one."""
    return options.results or ROOT / "results"
