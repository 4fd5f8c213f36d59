"""The smoke suite in tests of whole runs: its products, copies of a finished run, small file systems."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.paths import ROOT

COMMAND = [sys.executable, str(ROOT / "run_benchmark.py")]
SUITE = "digits_smoke"
STAGES = ("prepare", "finetune", "generate", "train")


def run_undisturbed(folder: Path) -> None:
    """Run the suite once, by the command as it is typed, with store and results in `folder`."""
    folders = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    done = subprocess.run([*COMMAND, "run", SUITE, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[11/11]" in done.stderr


def products(folder: Path) -> dict[str, dict[str, str]]:
    """Hash of every file of every artifact, by the artifact's kind and key."""
    found = {}
    for manifest in (folder / "store" / "artifacts").glob("*/*/manifest.json"):
        files = json.loads(manifest.read_text())["files"]
        found["/".join(manifest.parts[-3:-1])] = {name: facts[0] for name, facts in files.items()}
    return found


def numbers(folder: Path) -> list[str]:
    """The lines of records.csv without the seconds, which differ from run to run."""
    table = pd.read_csv(folder / "results" / SUITE / "records.csv", dtype=str)
    return table.drop(columns="seconds").to_csv(index=False).splitlines()


def copied(undisturbed: Path, folder: Path, *without: str) -> None:
    """The finished run in `folder`, where the artifacts of the kinds `without` are still to be made."""
    shutil.copytree(undisturbed, folder, dirs_exist_ok=True)
    for kind in without:
        shutil.rmtree(folder / "store" / "artifacts" / kind)


def finished(folder: Path) -> dict[Path, int]:
    """When each artifact of the store became one."""
    return {
        path: path.stat().st_mtime_ns for path in (folder / "store" / "artifacts").glob("*/*/manifest.json")
    }


def under_way(store: Path, kind: str) -> bool:
    """Whether a job of `kind` has been begun, or is finished."""
    return any((store / "work" / kind).glob("*/*")) or any((store / "artifacts" / kind).glob("*"))


def files_below(folder: Path) -> set[str]:
    """The files of a run, by their paths in its folder; what its processes have said is not among them."""
    found = (path.relative_to(folder).as_posix() for path in folder.glob("*/**/*") if not path.is_dir())
    return set(found)


def check_same(undisturbed: Path, folder: Path) -> None:
    """Check that a run has the products, records and files of an undisturbed one, and no others."""
    assert products(folder) == products(undisturbed)
    assert numbers(folder) == numbers(undisturbed)
    assert files_below(folder) == files_below(undisturbed)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """An empty file system of its own at `folder`, mounted with `options`."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written into `folder` within this context: root ignores permissions, but not mounts."""
    if os.geteuid() != 0:
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path in folders:
                path.chmod(0o755)
        return
    bind = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(bind, check=False).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
