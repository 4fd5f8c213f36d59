"""What several tests share."""

import os
from pathlib import Path

import pytest

from pipeline.config import read_card
from pipeline.data import prepare
from pipeline.planning.kinds.prepare import PrepareParams
from tests.execution import smoke
from tests.robustness.attacks import attacks, pytest_terminal_summary

__all__ = ["attacks", "pytest_terminal_summary"]

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Threads of torch in each test process and its children, unless the environment says otherwise.

`make test` runs a test process for each core. More threads than cores wait for each other in every operation
of tiny networks: a test of 2 seconds took 80.
"""


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of datasets in this test; it does not exist yet."""
    folder = tmp_path / "data"
    monkeypatch.setenv("TERRABENCH_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def digits_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits benchmark as `prepare` makes it. Read only: copy what a test is to damage."""
    folder = tmp_path_factory.mktemp("digits")
    prepare.run(PrepareParams(card=read_card("digits")), {}, folder, lambda done, total, what: None)
    return folder


@pytest.fixture(scope="session")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `stable-diffusion-v1-5/stable-diffusion-v1-5` is laid out; for 64 px (8x8 latents)."""
    from tests import tiny_pipelines

    folder = tmp_path_factory.mktemp("sd15")
    tiny_pipelines.sd15().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `stabilityai/stable-diffusion-xl-base-1.0` is laid out; for 16 px (8x8 latents)."""
    from tests import tiny_pipelines

    folder = tmp_path_factory.mktemp("sdxl")
    tiny_pipelines.sdxl().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke suite, run once without disturbance. Copy what is to change."""
    folder = tmp_path_factory.mktemp("undisturbed")
    smoke.run_undisturbed(folder)
    return folder
