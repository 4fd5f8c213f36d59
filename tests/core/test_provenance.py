"""Provenance has the versions that are in use, and nothing that is guessed."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import __version__
from pipeline.core import provenance
from pipeline.core.paths import ROOT


def test_versions_are_those_in_use() -> None:
    found = provenance.provenance()
    assert found["terrabench"] == __version__
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert all(found.values())


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@x"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert provenance._commit(tmp_path) == ""
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    git("tag", "-am", "v1", "v1")
    head = git("rev-parse", "HEAD")[:12]
    assert provenance._commit(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert provenance._commit(tmp_path) == f"{head}+"
    (tmp_path / "within").mkdir()
    assert provenance._commit(tmp_path / "within") == "", "a folder in somebody else's checkout"


def test_no_torch_is_imported() -> None:
    code = "import sys; from pipeline.core.provenance import provenance; provenance()"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
