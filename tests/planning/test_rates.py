"""Speeds that `bench gpu` measured: read strictly, looked up by what a job computes, and used by `plan`."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.cli import main
from pipeline.config import BaseModelSpec
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Workload
from pipeline.core.store import Store
from pipeline.planning import preflight
from pipeline.planning.graph import Plan, make_plan
from pipeline.planning.network_sizes import GIB, SDXL
from pipeline.planning.rates import GPU, PEAK, UTILISATION, read_rates, stated_on_gpu

TOLD: dict[str, Any] = {
    "format": 1,
    "card": "NVIDIA L4",
    "gib": 22.5,
    "versions": {"torch": "2.9"},
    "measurements": [
        {
            "step": "denoise",
            "network": "sdxl",
            "resolution": 1024,
            "precision": "fp16",
            "compiled": True,
            "images": 4,
            "passes": 1.0,
            "seconds": 2.0,
            "gib": 9.0,
        }
    ],
}


def written(folder: Path, told: object = TOLD) -> Path:
    path = folder / "l4.json"
    path.write_text(json.dumps(told))
    return path


def test_a_workload_has_the_speed_of_what_is_like_it(tmp_path: Path) -> None:
    rates = read_rates(written(tmp_path))
    speed = 4 * SDXL.multiply_adds / 2.0
    assert rates.rate(Workload("denoise", "sdxl", 512, "bf16", compiled=True)) == pytest.approx(speed)
    for other in (
        Workload("denoise", "sdxl", 1024, "fp16"),
        Workload("denoise", "sdxl", 1024, "fp32", compiled=True),
        Workload("finetune", "sdxl", 1024, "fp16", compiled=True),
        Workload("denoise", "sd15", 1024, "fp16", compiled=True),
        None,
    ):
        assert rates.rate(other) is None


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("format",), 2, "format: "),
        (("measurements",), [], "measurements: "),
        (("measurements", 0, "network"), "sdx", "measurements.0.network: .*'sdx' is not one of mini, sd15"),
        (("measurements", 0, "seconds"), 0, "measurements.0.seconds: "),
        (("measurements", 0, "speed"), 1, "measurements.0.speed: "),
    ],
)
def test_a_wrong_field_is_one_sentence(
    tmp_path: Path, place: tuple[str | int, ...], value: object, told: str
) -> None:
    rates: Any = json.loads(json.dumps(TOLD))
    field = rates
    for step in place[:-1]:
        field = field[step]
    field[place[-1]] = value
    with pytest.raises(UserError, match=rf"l4.json: {told}.*bench gpu --json") as caught:
        read_rates(written(tmp_path, rates))
    assert "\n" not in str(caught.value)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.json can't be read \(No such file"):
        read_rates(tmp_path / "none.json")
    (tmp_path / "l4.json").write_text("{")
    with pytest.raises(UserError, match=r"l4.json is not JSON"):
        read_rates(tmp_path / "l4.json")


def test_plan_takes_the_card_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--store", str(tmp_path), "--rates", str(written(tmp_path))]
    assert main(["plan", "office_home", *folders, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["device"] == "NVIDIA L4"
    needs = {job["kind"]: job["needs"] for job in told["jobs"]}
    assert needs["generate"]["rate"] == "card"
    assert needs["finetune"]["rate"] == "stated"
    assert needs["generate"]["seconds"] == pytest.approx(50 * 3250 * 2.0 / 4)
    assert main(["plan", "office_home", *folders]) == 0
    assert "on NVIDIA L4" in capsys.readouterr().out


def test_the_stated_speeds_are_those_of_the_documents() -> None:
    """From the published seconds, images and steps; see docs/hours.md."""
    guided_steps = {("sdxl", False): 3.31 / 30, ("sdxl", True): 2.54 / 30}
    for key, seconds in guided_steps.items():
        assert 2 * SDXL.multiply_adds / seconds == pytest.approx(PEAK * UTILISATION[key], rel=0.02)
    assert pytest.approx(PEAK * UTILISATION["classifier", False], rel=0.03) == 3 * 4.09e9 * 2470
    assert pytest.approx(PEAK * UTILISATION["sd15", False], rel=0.02) == 2 * 16 * 4.02e11 * 3.6
    assert pytest.approx(PEAK * UTILISATION["sd15", True], rel=0.02) == 2 * 16 * 4.02e11 * 4.68
    assert stated_on_gpu(None) == stated_on_gpu(Workload("denoise", "sdxl", 1024)) == 1e13


def planned(name: str, seeds: int | None = None) -> tuple[float, float]:
    """Hours on the stated GPU, and GiB of all artifacts."""
    suite = config.read_suite(name)
    assert isinstance(suite, config.Suite)
    suite = suite.model_copy(update={"seeds": suite.seeds[:seeds]})
    whole: Plan = make_plan(suite, config.read_card(suite.dataset), BaseModelSpec(name=suite.base_model.name))
    told = preflight.as_json(whole, Store(Path("/nowhere")), Capacity(cpus=2))
    assert told["device"] == GPU
    needs = [job["needs"] for job in told["jobs"]]
    return sum(one["seconds"] for one in needs) / 3600, sum(one["disk"] for one in needs) / GIB


@pytest.mark.parametrize(
    ("name", "seeds", "hours", "gib"),
    [
        ("office_home_quick", None, 1, 3),
        ("pacs_quick", None, 1, 3),
        ("office_home", None, 300, 15),
        ("office_home", 1, 100, 15),
        ("office_home_dg", None, 100, 15),
        ("pacs", None, 25, 15),
        ("visda2017", None, 50, 15),
        ("office_home_vit", None, 300, 15),
        ("visda2017_vit", None, 20, 15),
    ],
)
def test_the_suites_of_real_images_stay_within_their_budgets(
    name: str, seeds: int | None, hours: float, gib: float
) -> None:
    needed_hours, needed_gib = planned(name, seeds)
    assert needed_hours <= hours
    assert needed_gib <= gib
