"""Files that several tests of training share."""

from pathlib import Path

import pytest

from pipeline.bench import classify as bench


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten JPEG files of about 300x300. Read only."""
    return bench.write_photos(tmp_path_factory.mktemp("photos"), 10)
