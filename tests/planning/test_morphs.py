"""A suite of morphs: read strictly, planned, and drawn as a table from its records."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline import config
from pipeline.config import BaseModelSpec
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.planning.graph import make_plan
from pipeline.planning.job_filter import pick
from pipeline.report.tables import morphs

TEXT = (ROOT / "benchmarks" / "morph.yaml").read_text()
SUITE, CARD, BASE = (
    config.read_suite("morph"),
    config.read_card("digits"),
    BaseModelSpec(name="mini", revision="r"),
)


def broken(tmp_path: Path, old: str, new: str) -> str:
    assert old in TEXT
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError) as caught:
        config.read_suite(path)
    return str(caught.value)


def test_mistakes_are_told_with_line_and_field(tmp_path: Path) -> None:
    told = broken(tmp_path, "frames: 23", "frmes: 23")
    assert "frmes: unknown key" in told
    assert "did you mean 'frames'?" in told
    assert "'terr' is not one of its values" in broken(tmp_path, "terra, diff", "terr, diff")
    assert "frames: input should be greater than or equal to 2" in broken(tmp_path, "frames: 23", "frames: 1")
    assert "kinds has 'images' more than once" in broken(
        tmp_path, "[images, styles", "[images, images, styles"
    )
    assert "is a distance and no network" in broken(tmp_path, "features: digits", "features: pixels")
    assert "state its resolution" in broken(tmp_path, "{name: mini}", "{name: ./somewhere}")


def test_commands_of_trainings_say_that_this_is_another_suite() -> None:
    with pytest.raises(
        UserError,
        match=r"morph is a suite of setting morph; this command needs a suite of trainings \(setting uda",
    ):
        config.read_training_suite("morph")


def test_a_part_is_selected_by_kind_and_method() -> None:
    part = pick(make_plan(SUITE, CARD, BASE), "kind=Images,method=terra,method=ddim")
    assert [(cell.kind, cell.method) for cell in part.cells] == [("images", "ddim"), ("images", "terra")]
    assert [job.kind for job in part.jobs] == ["prepare", "morphs", "score", "morphs", "score"]
    assert part.compared == ["images"]
    with pytest.raises(
        UserError, match="expected FIELD=VALUE, such as method=ddim; for FIELD there are: kind, method"
    ):
        pick(make_plan(SUITE, CARD, BASE), "task=images")


def test_a_plan_has_morphs_and_scores_of_each_kind_and_method_after_their_inputs() -> None:
    plan = make_plan(SUITE, CARD, BASE)
    assert [(cell.kind, cell.method) for cell in plan.cells] == [
        (kind, method) for kind in SUITE.kinds for method in SUITE.methods
    ]
    assert [job.kind for job in plan.jobs] == ["prepare", *["morphs", "score"] * len(plan.cells)]
    assert len({job.key for job in plan.jobs}) == len(plan.jobs)


def test_another_network_scores_anew_and_makes_no_morph_again() -> None:
    other = SUITE.model_copy(update={"features": "inception"})
    keys = [
        {kind: [job.key for job in plan.jobs if job.kind == kind] for kind in ("morphs", "score")}
        for plan in (make_plan(SUITE, CARD, BASE), make_plan(other, CARD, BASE))
    ]
    assert keys[0]["morphs"] == keys[1]["morphs"]
    assert not set(keys[0]["score"]) & set(keys[1]["score"])


def test_the_table_has_methods_by_kinds_and_its_best_in_bold() -> None:
    rows = [
        {
            "kind": kind,
            "method": method,
            "FID": fid,
            "PPL": ppl,
            "PPL variation": 0.5,
            "KID": 0.1,
            "psnr": ratio,
        }
        for kind, method, fid, ppl, ratio in [
            ("images", "ddim", 30.0, 2.0, 28.0),
            ("images", "terra", 20.0, 3.0, 29.0),
            ("styles", "ddim", float("nan"), 0.0, float("nan")),
            ("styles", "terra", 12.345, 1.0, float("nan")),
        ]
    ]
    lines = morphs.markdown(pd.DataFrame(rows), SUITE).splitlines()
    assert lines[2].startswith("| Method | images: FID | images: PPL | images: variation | styles: FID")
    assert lines[4] == "| ddim | 30 | **2** | **0.5** | – | 0 | **0.5** |"
    assert lines[5] == "| terra | **20** | 3 | **0.5** | **12.3** | **1** | **0.5** |"
    assert "ddim 28.0, terra 29.0" in lines[7]
    assert "features of digits" in lines[7]


def test_morphs_are_augmentations_under_dg_alone_and_share_their_loras() -> None:
    suite = config.read_suite("digits_dg_morph")
    plan = make_plan(suite, CARD, BASE)
    for task in plan.tasks.values():
        loras = {name: task.adapters[name].finetune.key for name in config.MORPHS}
        assert len(set(loras.values())) == 1
        made = [task.adapters[name].made["interpolated"] for name in config.MORPHS]
        assert len({job.key for job in made}) == 2
        assert task.target not in made[0].params.domains.sources
    trained = {cell.augmentation: cell.job for cell in plan.cells if cell.task == "->MM"}
    assert trained["diffmorpher"].inputs["interpolated"].kind == "between"
    told = suite.model_dump(exclude_unset=True) | {"setting": "uda", "methods": ["ERM"]}
    with pytest.raises(ValueError, match="augmentations: 'lora_interp' does not exist"):
        config.Suite.model_validate(told)


def test_morphs_leave_the_jobs_of_the_suite_that_they_extend_as_they_are() -> None:
    plain = {job.key for job in make_plan(config.read_suite("digits_dg"), CARD, BASE).jobs}
    more = [
        job
        for job in make_plan(config.read_suite("digits_dg_morph"), CARD, BASE).jobs
        if job.key not in plain
    ]
    assert {job.kind for job in more} == {"pair_loras", "between", "train"}
    assert all(
        "SWAD" in job.label and any(name in job.label for name in config.MORPHS)
        for job in more
        if job.kind == "train"
    )
