"""`--only` selects a part of a plan, with the jobs that it depends on and no others."""

import pytest

from pipeline import config
from pipeline.core.errors import UserError
from pipeline.planning.graph import Plan, make_plan
from pipeline.planning.job_filter import pick

SUITE = config.read_suite("digits")
PLAN = make_plan(SUITE, config.read_card("digits"), SUITE.base_model)


def kinds(plan: Plan) -> dict[str, int]:
    return {
        kind: sum(job.kind == kind for job in plan.jobs)
        for kind in ("prepare", "finetune", "generate", "train")
    }


def test_one_training_and_what_it_stands_on() -> None:
    part = pick(PLAN, "task=MN->MM,method=MCC,augmentation=terra,seed=1")
    assert kinds(part) == {"prepare": 1, "finetune": 1, "generate": 2, "train": 1}
    assert [cell.job.label for cell in part.cells] == ["train MN->MM MCC terra seed 1"]
    assert list(part.tasks) == ["MN->MM"]


def test_a_plain_training_needs_no_images() -> None:
    assert kinds(pick(PLAN, "augmentation=none,seed=0,method=ERM")) == {
        "prepare": 1,
        "finetune": 0,
        "generate": 0,
        "train": 12,
    }


def test_values_of_one_field_add_up_and_fields_narrow() -> None:
    assert kinds(pick(PLAN, "task=MN->MM,task=MN->UC,seed=2"))["train"] == 2 * 2 * 3
    assert kinds(pick(PLAN, "method=ERM,method=MCC")) == kinds(PLAN)


def test_jobs_keep_their_order_and_their_keys() -> None:
    part = pick(PLAN, " method = mcc ")
    there = [job.key for job in part.jobs]
    assert there == [job.key for job in PLAN.jobs if job.key in set(there)]


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ("task=MN->M", "digits has no such task; there are: .*did you mean 'MN->MM'"),
        ("method=MC", "no such method; there are: ERM, MCC; did you mean 'MCC'"),
        ("seed=7", "no such seed; there are: 0, 1, 2"),
        ("augmentation=tera", "did you mean 'terra'"),
        (
            "tsk=MN->MM",
            "expected FIELD=VALUE.*there are: augmentation, method, seed, task; did you mean 'task'",
        ),
        ("MCC", "expected FIELD=VALUE"),
        ("", "expected FIELD=VALUE"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(only: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        pick(PLAN, only)
