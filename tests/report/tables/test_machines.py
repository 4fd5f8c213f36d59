"""Two runs on two machines: one sentence that names what differs."""

import json

import pytest

from pipeline import cli, config
from pipeline.report import records
from pipeline.report.page import run_info
from pipeline.report.page.run_info import RunInfo
from pipeline.report.tables import machines
from tests.report.report_samples import TASKS, make_suite

INTEL = {"processor": ["Intel Xeon"], "torch": ["2.9.0"], "python": ["3.12.0"], "commit": ["1234"]}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (INTEL, INTEL, ""),
        (INTEL, INTEL | {"commit": ["5678"]}, ""),
        (
            INTEL,
            INTEL | {"processor": ["AMD EPYC"]},
            "different machines (processor: A Intel Xeon, B AMD EPYC)",
        ),
        (
            INTEL,
            INTEL | {"torch": ["2.10.0", "2.9.0"]},
            "different versions (torch: A 2.9.0, B 2.10.0, 2.9.0)",
        ),
        (INTEL, INTEL | {"gpu": ["H100"]}, "different machines (gpu: A none, B H100)"),
        ({}, INTEL, "not compared, because run.json of A names none"),
        ({}, {}, "not compared, because run.json of A and B names none"),
    ],
)
def test_one_sentence_names_what_differs(a, b, expected):
    found = machines.sentence(a, b)
    assert expected in found
    assert bool(found) == bool(expected)


@pytest.fixture
def runs(tmp_path, rows):
    for name, processor in (("a", "Intel Xeon"), ("b", "AMD EPYC")):
        records.write(tmp_path / name / "records.csv", rows)
        made = {"processor": {processor: 12}, "torch": {"2.9.0": 12}}
        card = config.read_card("digits")
        run_info.write(
            tmp_path / name, RunInfo(suite=make_suite(), card=card, tasks=TASKS, file="x", made_with=made)
        )
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_compare_knows_both_machines(runs, capsys):
    assert cli.main(["compare", *runs]) == 0
    assert capsys.readouterr().out.count("processor: A Intel Xeon, B AMD EPYC") == 1
    assert cli.main(["compare", *runs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["machines"] == {"processor": [["Intel Xeon"], ["AMD EPYC"]]}
    assert cli.main(["compare", runs[0], runs[0]]) == 0
    assert "machines" not in capsys.readouterr().out


def test_a_damaged_run_json_stops_no_comparison(runs, tmp_path, capsys):
    (tmp_path / "b" / "run.json").write_text("{")
    assert cli.main(["compare", *runs]) == 0
    assert "because run.json of B names none" in capsys.readouterr().out
