"""Two runs: what changed by more than its noise, and what the exit code says of it."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline import cli
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.report import records
from pipeline.report.tables import compare
from tests.report.report_samples import TASKS, make_row

REFERENCE = ROOT / "results" / "reference" / "digits"


def run(accuracies, **changes):
    """Records of one task with one accuracy a seed."""
    rows = [make_row(TASKS[0], "none", seed, each, **changes) for seed, each in enumerate(accuracies)]
    return pd.DataFrame(rows).assign(library="")


A = [50.0, 51.0, 52.0]


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (A, [51.0, 52.0, 50.5], compare.NOISE),
        (A, [60.0, 61.0, 62.0], compare.CHANGED),
        (A, A, compare.SAME),
        ([50.0], [90.0], compare.UNKNOWN),
        (A, [90.0], compare.UNKNOWN),
        ([50.0] * 3, [50.5] * 3, compare.CHANGED),
    ],
)
def test_verdicts(a, b, verdict):
    found = compare.compare(run(a), run(b))
    (change,) = found.changes
    assert change.verdict == verdict
    assert found.differs == (verdict == compare.CHANGED)
    assert change.difference == pytest.approx(np.mean(b) - np.mean(a))
    assert (change.p is None) == (verdict == compare.UNKNOWN)


def test_p_is_welchs_by_its_formula():
    a, b = np.array(A), np.array([52.0, 53.5, 56.0, 51.0])
    parts = a.var(ddof=1) / 3, b.var(ddof=1) / 4
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)
    t = (a.mean() - b.mean()) / sum(parts) ** 0.5
    assert compare.welch(a, b) == pytest.approx(2 * stats.t.sf(abs(t), freedom))


def test_p_is_adjusted_for_the_number_of_cells():
    """By hand: of p sorted, each times their number over its place, and no more than those after it."""
    assert compare._adjusted([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.04, 0.04])


samples = st.lists(st.integers(0, 100).map(float), min_size=1, max_size=4)


@settings(deadline=None, max_examples=25)
@given(samples, samples)
def test_swapping_the_runs_negates(a, b):
    (one,), (other,) = compare.compare(run(a), run(b)).changes, compare.compare(run(b), run(a)).changes
    assert other.difference == -one.difference
    assert other.verdict == one.verdict
    assert (other.a, other.b) == (one.b, one.a)


def test_what_one_run_alone_has_and_other_settings():
    other = run(A, version="0.2.0", key="4567").assign(suite="another")
    found = compare.compare(pd.concat([run(A), run([1.0], method="MCC")]), other)
    assert [cell["method"] for cell in found.only_a] == ["MCC"]
    assert found.only_b == ()
    assert found.settings == {"suite": (["small_suite"], ["another"]), "version": (["0.1.0"], ["0.2.0"])}
    assert found.keys == {"same": 0, "same, but another accuracy": 0, "other": 3}


def test_a_failed_training_has_no_accuracy():
    found = compare.compare(run(A), run([50.0, 51.0, np.nan]))
    assert (found.changes[0].seeds_a, found.changes[0].seeds_b) == (3, 2)


def test_several_suites_with_the_same_cells_are_refused():
    with pytest.raises(UserError, match=r"run A has records of several suites \(another, small_suite\)"):
        compare.compare(pd.concat([run(A), run(A).assign(suite="another")]), run(A))


def test_the_command_and_its_exit_codes(tmp_path, capsys):
    shutil.copy(REFERENCE / "records.csv", tmp_path)
    assert cli.main(["compare", str(REFERENCE), str(tmp_path)]) == 0
    assert "216 same, 0 within noise" in capsys.readouterr().out
    changed = records.read(tmp_path / "records.csv")
    changed.loc[changed["augmentation"] == "terra", "accuracy"] = 0.0
    records.write(tmp_path / "records.csv", changed.to_dict("records"))
    assert cli.main(["compare", str(REFERENCE), str(tmp_path / "records.csv"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    beyond = [each["cell"] for each in found["changes"] if each["verdict"] == compare.CHANGED]
    assert {cell["augmentation"] for cell in beyond} == {"terra"}
    assert found["keys"] == {"same": 216, "same, but another accuracy": 72, "other": 0}
    assert cli.main(["compare", "no_such_run", str(tmp_path)]) == 2
    assert "is no results folder, no records.csv and no suite" in capsys.readouterr().err


def test_no_torch_is_imported(tmp_path):
    code = (
        "import sys; from pipeline import cli\n"
        f"reference, to = {str(REFERENCE)!r}, {str(tmp_path)!r}\n"
        "assert cli.main(['compare', reference, reference]) == 0\n"
        "assert cli.main(['export', reference, '--to', to + '/all.csv']) == 0\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


def test_tables_of_records_alone_import_no_torch(tmp_path):
    """Half of the reference run, to draw half of its pictures."""
    folder = tmp_path / "digits"
    folder.mkdir()
    shutil.copy(REFERENCE / "records.csv", folder)
    half = [
        "extends: digits",
        "name: digits",
        "tasks: [MN->MM, MN->UC, MN->SY, MM->MN, MM->UC, MM->SY]",
        "methods: [MCC]",
    ]
    (tmp_path / "half.yaml").write_text("\n".join([*half, "selections: [last]", ""]))
    code = (
        "import sys; from pipeline import cli\n"
        f"suite, folder = {str(tmp_path / 'half.yaml')!r}, {str(tmp_path)!r}\n"
        "assert cli.main(['tables', suite, '--results', folder, '--store', folder + '/s']) == 0\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300, capture_output=True, text=True
    )
    assert re.search(r"MCC \+ Terra gains \d\.\d points on average over MCC \+ base \(95 %: ", done.stdout)
    assert (folder / "plots" / "ranks_last.pdf").exists()
    assert not list(folder.glob("tables/published*"))
