"""What both executors share: which artifacts are missing, and that no job is forgotten."""

import shutil
from pathlib import Path

import pytest

from pipeline.core.hardware import Capacity
from pipeline.core.store import Store
from pipeline.execution import local_executor
from pipeline.execution.scheduler import Scheduler, find_missing
from tests.execution.quick_stage import Notes, quick


def test_a_damaged_artifact_counts_as_missing(tmp_path: Path) -> None:
    store, job, notes = Store(tmp_path / "store"), quick("a", tmp_path), Notes()
    local_executor.execute([job], store, Capacity(cpus=2), notes)
    (store.path(job.kind, job.key) / "text").write_text("b")
    assert find_missing([job], store, notes) == [job]
    assert "(a): text was changed; it is made again" in notes.told[-1][1]
    shutil.rmtree(tmp_path / "store")


def test_a_run_that_forgets_a_job_is_an_error(tmp_path: Path) -> None:
    scheduler = Scheduler([quick("a", tmp_path)], Store(tmp_path), Notes())
    with pytest.raises(RuntimeError, match="ended with 1 jobs not started: a"):
        scheduler.close()
