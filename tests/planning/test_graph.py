"""The graph of a suite: inputs come first, suites share jobs, and a change makes only dependent jobs anew."""

import subprocess
import sys

import pytest

from pipeline import config
from pipeline.core.errors import UserError
from pipeline.planning.graph import AnyPlan, make_plan
from pipeline.planning.tasks import parse_task

CARD = config.read_card("digits")
SUITE = config.read_suite("digits")
BASE = SUITE.base_model.model_copy(update={"revision": "r1"})


def plan(**changes: object) -> AnyPlan:
    return make_plan(SUITE.model_copy(update=changes), CARD, BASE)


def keys(one: AnyPlan, kind: str) -> set[str]:
    return {job.key for job in one.jobs if job.kind == kind}


def test_a_method_of_another_version_has_other_keys_and_no_other_method_has() -> None:
    plain, raised = (
        {cell.job.label: cell.job.key for cell in make_plan(SUITE, CARD, BASE, versions=versions).cells}
        for versions in ({}, {"MCC": 2, "ERM": 1})
    )
    changed = {label for label, key in plain.items() if raised[label] != key}
    assert changed == {label for label in plain if " MCC " in label} != set()


def test_twelve_pairs_share_data_and_control() -> None:
    whole = plan()
    counts = {kind: len(keys(whole, kind)) for kind in ("prepare", "finetune", "generate", "train")}
    assert counts == {"prepare": 1, "finetune": 12, "generate": 25, "train": 12 * 2 * 3 * 3}
    assert len({job.key for job in whole.jobs}) == len(whole.jobs)


def test_settings_of_stage_two_reach_the_jobs_that_they_are_for() -> None:
    changes = {"scale": 0.9, "adapted_scale": 1.0, "keep_aspect": True, "inversion_start": "first"}
    told = changes | {"spacing": "leading", "steps_offset": 1, "negative": "zeros"}
    whole = plan(generate=SUITE.generate.model_copy(update=told))
    jobs = [job.params for job in whole.jobs if job.kind == "generate"]
    found = {
        (one.contents, one.scale, one.keep_aspect, one.inversion.start, one.spacing, one.negative)
        for one in jobs
    }
    assert found == {
        ("adapted", 1.0, True, "first", "leading", "zeros"),
        ("generated", 0.9, False, "clean", "leading", "zeros"),
        ("base", 0.9, False, "clean", "leading", "zeros"),
    }
    assert {job.key for job in plan().jobs if job.kind == "generate"}.isdisjoint(keys(whole, "generate"))
    assert "spacing" not in jobs[0].model_copy(update={"spacing": "trailing"}).model_dump()


def test_inputs_come_first() -> None:
    seen: set[str] = set()
    for job in plan().jobs:
        assert {needed.key for needed in job.inputs.values()} <= seen
        seen.add(job.key)


def test_only_what_depends_on_a_change_is_remade() -> None:
    before = plan()
    shorter = plan(train=SUITE.train.model_copy(update={"iterations": 7}))
    assert keys(before, "generate") == keys(shorter, "generate")
    assert not keys(before, "train") & keys(shorter, "train")
    fewer_steps = plan(finetune=SUITE.finetune.model_copy(update={"steps": 7}))
    plain = {c.job.key for c in before.cells if c.augmentation != "terra"}
    assert keys(before, "train") & keys(fewer_steps, "train") == plain
    assert before.base.key == fewer_steps.base.key


def test_another_base_model_remakes_all_but_the_data() -> None:
    other = make_plan(SUITE, CARD, BASE.model_copy(update={"revision": "r2"}))
    shared = {job.key for job in plan().jobs} & {job.key for job in other.jobs}
    plain = {c.job.key for c in plan().cells if c.augmentation == "none"}
    assert shared == {other.data.key} | plain


def test_a_suite_without_terra_has_no_fine_tuning() -> None:
    assert {job.kind for job in plan(augmentations=["none"]).jobs} == {"prepare", "train"}


def test_the_control_has_as_many_images_as_terra_makes() -> None:
    whole = plan()
    pair = next(iter(whole.tasks.values()))
    made = pair.adapters["terra"].made
    assert whole.base.params.per_class == sum(job.params.per_class for job in made.values())
    grid = config.GridSettings(range=(-1, 1), step=0.5, per_class=3)
    settings = SUITE.generate.model_copy(update={"grid": grid})
    assert plan(**DG, generate=settings).base.params.per_class == 5 * 3
    fewer = settings.model_copy(update={"grid": grid.model_copy(update={"points": 4})})
    assert plan(**DG, generate=fewer).base.params.per_class == 4 * 3


@pytest.mark.parametrize(
    ("task", "told"), [("MN->M", "did you mean"), ("MN", "SOURCE->TARGET"), ("MN->MN", "same")]
)
def test_tasks_that_are_none(task: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_task(task, CARD)


def test_help_imports_nothing_that_takes_time() -> None:
    code = "import sys; from pipeline import cli; cli.build_parser().format_help(); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "pipeline.cli.parser" in told.split()
    assert not {"numpy", "pandas", "pydantic", "torch", "yaml"} & set(told.split())


def test_trainings_come_last_so_that_workers_end_together() -> None:
    kinds = [job.kind for job in plan().jobs]
    assert max(i for i, kind in enumerate(kinds) if kind == "finetune") < kinds.index("train")


def test_the_demo_is_a_part_of_the_whole_suite() -> None:
    demo = make_plan(config.read_suite("digits_demo"), CARD, BASE)
    assert {job.key for job in demo.jobs} < {job.key for job in plan().jobs}


DG = {"setting": "dg", "augmentations": ["none", "base"], "methods": [config.MethodSpec(name="ERM")]}


def test_under_dg_each_domain_is_held_out_once() -> None:
    whole = plan(**DG)
    assert list(whole.tasks) == ["->MN", "->MM", "->UC", "->SY"]
    assert {job.kind for job in whole.jobs} == {"prepare", "generate", "train"}
    cell = next(cell for cell in whole.cells if cell.task == "->UC")
    assert (cell.job.params.sources, cell.job.params.target) == (["MN", "MM", "SY"], "UC")
    assert len(keys(whole, "generate")) == 1  # the control knows no domain, and is made once
    assert list(plan(**DG, tasks=["->SY"]).tasks) == ["->SY"]


@pytest.mark.parametrize(
    ("task", "told"), [("MN->SY", "->TARGET"), ("->", "->TARGET"), ("->XY", "no domain 'XY'")]
)
def test_tasks_that_hold_no_domain_out(task: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_task(task, CARD, "dg")


def test_two_domains_are_too_few_to_hold_one_out() -> None:
    few = CARD.model_copy(update={"domains": dict(list(CARD.domains.items())[:2])})
    with pytest.raises(UserError, match=r"setting dg needs at least three domains.*digits has 2"):
        make_plan(SUITE.model_copy(update=DG), few, BASE)


def test_a_method_with_swad_is_another_row() -> None:
    swad = config.MethodSpec(name="ERM", train={"averaging": "swad", "evaluate_every": None})
    whole = plan(**DG | {"methods": [config.MethodSpec(name="ERM"), swad]})
    assert {cell.method for cell in whole.cells} == {"ERM", "ERM+SWAD"}


def test_under_dg_an_adapter_learns_and_makes_images_without_the_domain_held_out() -> None:
    whole = plan(**DG | {"augmentations": ["none", "base", "terra"]})
    counts = {kind: len(keys(whole, kind)) for kind in ("t_predictor", "finetune", "interpolate", "generate")}
    assert counts == {"t_predictor": 4, "finetune": 4, "interpolate": 4, "generate": 1}
    jobs = whole.tasks["->UC"].adapters["terra"]
    assert jobs.finetune.inputs["times"] == jobs.made["interpolated"].inputs["times"] == jobs.times
    for job in (jobs.times, jobs.finetune, jobs.made["interpolated"]):
        assert "UC" not in job.params.model_dump_json()


def test_an_adapter_of_another_form_or_dimension_is_another_augmentation() -> None:
    forms = {"flat": config.AdapterSpec(t_dim=2), "exp": config.AdapterSpec(form="exponential")}
    changes = {"adapters": forms, "augmentations": ["none", "terra", "flat", "exp"]}
    whole = plan(**DG | changes)
    jobs = whole.tasks["->UC"].adapters
    assert list(jobs) == ["terra", "flat", "exp"]
    assert len({job.finetune.key for job in jobs.values()}) == 3
    assert jobs["terra"].times == jobs["exp"].times != jobs["flat"].times
    assert {cell.augmentation for cell in whole.cells} == {"none", "terra", "flat", "exp"}


def test_a_flow_is_planned_where_the_suite_asks_for_one() -> None:
    settings = SUITE.generate.model_copy(update={"flow": config.FlowSettings()})
    with_flow = plan(generate=settings)
    assert {job.key for job in with_flow.jobs} - {
        job.key for job in plan(generate=SUITE.generate.model_copy(update={"flow": None})).jobs
    } == keys(with_flow, "flow")
    assert len(keys(with_flow, "flow")) == 12


def web(**about: object) -> dict[str, object]:
    """Changes that make `web`, a LoRWeB, an augmentation beside Terra."""
    spec = config.AdapterSpec(type="lorweb", analogy=config.AnalogySpec(**about))
    return {
        "adapters": {"web": spec},
        "augmentations": ["none", "terra", "web"],
        "tasks": ["MN->MM", "MN->SY"],
    }


def test_one_lorweb_serves_all_tasks_if_its_pairs_are_named_and_each_has_its_own_if_not() -> None:
    shared = plan(**web(pairs=["MN->MM", "MN->UC"]))
    jobs = [shared.tasks[task].adapters["web"] for task in ("MN->MM", "MN->SY")]
    assert jobs[0].finetune == jobs[1].finetune
    taught = jobs[0].finetune.params.analogies.pairs
    assert [(pair.source, pair.target) for pair in taught] == [("MN", "MM"), ("MN", "UC")]
    assert jobs[0].made["generated"] != jobs[1].made["generated"]
    for job in jobs[1].made.values():
        assert set(job.inputs) == {"adapter", "data"}, "examples are of the data"
    own = [jobs.adapters["web"].finetune.params for jobs in plan(**web()).tasks.values()]
    assert [params.analogies.pairs[0].target for params in own] == ["MM", "SY"]
    assert all(params.pair is None for params in own)


def test_a_lorweb_changes_no_key_of_the_others_and_has_no_flow() -> None:
    with_web, without = (plan(tasks=["MN->MM", "MN->SY"]), plan(**web()))
    others = {cell.job.key for cell in without.cells if cell.augmentation != "web"}
    assert others <= {cell.job.key for cell in with_web.cells}
    assert keys(without, "flow") == keys(with_web, "flow")


def test_no_lorweb_reads_the_labels_of_a_tasks_target() -> None:
    with pytest.raises(
        UserError, match=r"adapter web: .*names MM->UC, which would read the labels of MM, the target"
    ):
        plan(**web(pairs=["MN->MM", "MM->UC"]))
    with pytest.raises(UserError, match="has no domain 'XX'"):
        plan(**web(pairs=["MN->XX"]))


def test_exact_analogies_are_of_digits_alone_and_a_lorweb_is_of_uda_alone() -> None:
    card = config.read_card("pacs")
    changes = web(pairing="exact") | {"tasks": ["Ar->Cl"], "dataset": "pacs"}
    first, second = list(card.domains)[:2]
    with pytest.raises(UserError, match="pairing: exact draws digits, and pacs has none"):
        make_plan(SUITE.model_copy(update=changes | {"tasks": [f"{first}->{second}"]}), card, BASE)
    told = (
        SUITE.model_dump()
        | web()
        | {"setting": "dg", "tasks": ["->MM"], "adapters": {"web": {"type": "lorweb"}}}
    )
    with pytest.raises(ValueError, match="adapter web is a lorweb, which is for setting uda alone"):
        config.Suite.model_validate(told)
