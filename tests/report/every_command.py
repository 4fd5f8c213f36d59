"""The commands that read a finished suite, one after the other."""

import json
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.report import records


def check_commands(suite: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run `tables`, `plots`, `report`, `compare`, `export`, `verify` and `doctor` on a suite that was run.

    Args:
        suite: Its file.
        folder: Holds the store and the results folders.
        capsys: What is printed.
    """
    where = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    capsys.readouterr()
    assert main(["tables", str(suite), *where, "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    results = Path(told["folder"])
    assert told["records"]
    assert len(told["records"]) == len(records.read(results / "records.csv"))
    assert {"records.csv", "tables", "run.json", "index.html"} <= {path.name for path in results.iterdir()}
    assert main(["plots", str(suite), *where, "--quiet"]) == 0
    page = (results / "index.html").read_text()
    assert main(["report", str(suite), "--results", str(folder / "results")]) == 0
    assert main(["report", str(results)]) == 0
    assert (results / "index.html").read_text() == page
    for run in (str(suite), str(results), str(results / "records.csv")):
        assert main(["compare", run, str(results), "--results", str(folder / "results")]) == 0
    exported = folder / "exported.csv"
    assert main(["export", str(suite), "--results", str(folder / "results"), "--to", str(exported)]) == 0
    assert len(exported.read_text().splitlines()) > len(told["records"])
    assert main(["verify", str(suite), *where]) == 0
    assert main(["doctor", str(suite), "--store", str(folder / "store")]) in (0, 1)
    assert f"{told['suite']}: " in capsys.readouterr().out
