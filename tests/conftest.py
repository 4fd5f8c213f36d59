"""What several tests share."""

from pathlib import Path

import pytest

from pipeline.config import PrepareParams, read_card
from pipeline.data import prepare


@pytest.fixture(scope="session")
def digits_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits benchmark as `prepare` makes it. Read only: copy what a test is to damage."""
    folder = tmp_path_factory.mktemp("digits")
    prepare.run(PrepareParams(card=read_card("digits")), {}, folder, lambda done, total, what: None)
    return folder
