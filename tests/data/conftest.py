"""Fixtures of the tests of datasets of files."""

from pathlib import Path

import pytest


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of datasets in this test."""
    folder = tmp_path / "data"
    monkeypatch.setenv("TERRABENCH_DATA", str(folder))
    return folder
