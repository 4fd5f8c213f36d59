"""What the tests of data sets of files share."""

from pathlib import Path

import pytest


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where data sets are put in this test."""
    folder = tmp_path / "data"
    monkeypatch.setenv("TERRABENCH_DATA", str(folder))
    return folder
