"""The project as a wheel: all data files are in it, and it works in an empty folder, without a checkout."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from pipeline import __version__
from pipeline.core.paths import ROOT

BUILT_FROM = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")

SHIPPED = {
    "pipeline/_bundled/benchmarks": ROOT / "benchmarks",
    "pipeline/_bundled/datasets": ROOT / "datasets",
    "pipeline/_bundled/published": ROOT / "results" / "published",
}

CODE = {".py", ".pyc"}


def build(kind: str, source: Path, to: Path) -> Path:
    """The sdist or wheel that the build backend makes of the folder `source`."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(to)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True, text=True, timeout=120
    )
    return to / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a wheel, built from a source distribution, which is built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "data", "*.egg-info")
    shutil.copytree(ROOT / "benchmarks", checkout / "benchmarks", ignore=ignored)
    shutil.copytree(ROOT / "datasets", checkout / "datasets", ignore=ignored)
    shutil.copytree(ROOT / "results" / "published", checkout / "results" / "published")
    shutil.copytree(ROOT / "pipeline", checkout / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, checkout)
    with tarfile.open(build("sdist", checkout, folder)) as archive:
        archive.extractall(folder / "sdist", filter="data")
    wheel = build("wheel", folder / "sdist" / f"terrabench-{__version__}", folder)
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def run(unpacked: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`terrabench ...` of the unpacked wheel, from `folder`, with a HOME that holds nothing."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TERRABENCH_")}
    environment |= {"HOME": str(home), "PYTHONPATH": str(unpacked)}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder that holds nothing."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_every_data_file_is_in_the_wheel(unpacked: Path) -> None:
    for inside, folder in SHIPPED.items():
        suffixes = {".csv", ".md"} if folder.name == "published" else {".yaml"}
        files = {path.name for path in folder.iterdir() if path.suffix in suffixes}
        assert files
        assert {path.name for path in (unpacked / inside).iterdir()} == files
    package = ROOT / "pipeline"
    data = (path for path in package.rglob("*") if path.is_file() and path.suffix not in CODE)
    for path in (path for path in data if "__pycache__" not in path.parts):
        copied = unpacked / "pipeline" / path.relative_to(package)
        assert copied.read_bytes() == path.read_bytes()


def test_the_wheel_installs_one_package_with_one_command(unpacked: Path) -> None:
    about = unpacked / f"terrabench-{__version__}.dist-info"
    assert {path.name for path in unpacked.iterdir()} == {"pipeline", about.name}  # no `datasets`, no `tests`
    assert (about / "entry_points.txt").read_text().split() == [
        "[console_scripts]",
        "terrabench",
        "=",
        "pipeline.__main__:main",
    ]
    assert f"Version: {__version__}\n" in (about / "METADATA").read_text()


def test_a_suite_is_planned_in_an_empty_folder(unpacked: Path, empty: Path) -> None:
    done = run(unpacked, empty, "plan", "digits_smoke", "--json")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert planned["suite"] == "digits_smoke"
    shipped = subprocess.run(
        [sys.executable, str(ROOT / "run_benchmark.py"), "plan", "digits_smoke", "--json"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    keys = [job["key"] for job in json.loads(shipped.stdout)["jobs"]]
    assert [job["key"] for job in planned["jobs"]] == keys
    assert f"store: {empty / 'results' / 'store'}" in run(unpacked, empty, "plan", "digits_smoke").stdout
    assert not list(empty.iterdir())  # to plan writes nothing


def test_a_suite_of_the_current_folder_comes_before_one_of_the_package(unpacked: Path, empty: Path) -> None:
    (empty / "benchmarks").mkdir()
    mine = empty / "benchmarks" / "mine.yaml"
    mine.write_text("extends: digits_smoke\nname: mine\ntitle: Mine\n")
    (empty / "benchmarks" / "digits.yaml").write_text("extends: mine\ntitle: My digits\n")
    assert "mine: My digits" in run(unpacked, empty, "plan", "digits").stdout
    assert "mine: Mine" in run(unpacked, empty, "plan", "benchmarks/mine.yaml").stdout


def test_help_names_the_installed_command(unpacked: Path, empty: Path) -> None:
    for command in ((), ("datasets",), ("run",), ("export-lora",)):
        text = run(unpacked, empty, *command, "--help").stdout
        assert f"usage: {' '.join(('terrabench', *command))}" in text
        assert "run_benchmark.py" not in text


def test_methods_data_sets_and_the_machine_are_listed_without_a_checkout(unpacked: Path, empty: Path) -> None:
    assert "MCC" in run(unpacked, empty, "methods").stdout
    told = json.loads(run(unpacked, empty, "datasets", "list", "--json").stdout)
    folders = {one["name"]: one["folder"] for one in told}
    assert folders.keys() == {path.stem for path in (ROOT / "datasets").glob("*.yaml")}
    assert folders["pacs"] == str(empty / "datasets" / "data" / "pacs")
    examined = run(unpacked, empty, "doctor", "digits_smoke", "--json")
    assert examined.returncode == 0, examined.stdout
    findings = json.loads(examined.stdout)["findings"]
    found = {one["what"] for one in findings if one["group"] == "package"}
    assert {"torch", "diffusers", "dalib"} <= found
    assert {one["what"] for one in findings if one["group"] == "extra"} >= {"test", "docs", "cluster"}
