"""Worker processes of this machine: counted cores and GPUs, and a worker that dies while idle."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from pipeline.core.hardware import Capacity, Gpu
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution import local_executor
from tests.execution.quick_stage import Notes, events, most_at_once, quick


class KillsIdleWorker(Notes):
    """Kills the worker that has no job when the first job has begun."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.killed: list[int] = []

    def progressed(self, job: Job, message: object) -> None:
        if not self.killed:
            busy = {int(process) for what, _, process in events(self.folder) if what == "begin"}
            for worker in multiprocessing.active_children():
                if worker.pid not in busy:
                    os.kill(worker.pid, signal.SIGKILL)
                    worker.join()
                    self.killed.append(worker.pid)


def test_a_worker_that_is_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    first = quick("first", tmp_path, seconds=0.5)
    after = [quick(name, tmp_path, first) for name in "abc"]
    killer = KillsIdleWorker(tmp_path)
    outcome = local_executor.execute([first, *after], Store(tmp_path / "store"), Capacity(cpus=2), killer)
    assert len(killer.killed) == 1
    assert {job.label for job in outcome.made} == {"first", "a", "b", "c"}
    assert all(killer.count("started", job.label) == 1 for job in [first, *after]), "no job lost a try"


def test_no_more_threads_are_at_work_than_there_are_cores(tmp_path: Path) -> None:
    threads = {"a": 2, "b": 1, "c": 2, "d": 1, "e": 1, "f": 5}
    todo = [quick(name, tmp_path, threads=count, seconds=0.3) for name, count in threads.items()]
    assert len(local_executor.execute(todo, Store(tmp_path / "store"), Capacity(cpus=3), Notes()).made) == 6
    assert most_at_once(tmp_path, threads) == 5  # f wants more than there is, and is made alone
    assert most_at_once(tmp_path, threads | {"f": 0}) == 3


def count_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick jobs take the GPUs that they say."""
    monkeypatch.setattr(local_executor, "takes_gpu", lambda job: job.params.gpus > 0)
    monkeypatch.setattr(local_executor, "processes", lambda job: job.params.gpus)


@pytest.mark.parametrize("workers", [None, 1])
def test_a_job_of_several_gpus_has_them_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    count_gpus(monkeypatch)
    names = ("GPU-one", "GPU-two", "GPU-three")
    wanted = {"a": 1, "b": 2, "c": 1, "d": 3, "e": 2, "f": 1, "all": 9}
    todo = [quick(name, tmp_path, gpus=count, seconds=0.2) for name, count in wanted.items()]
    capacity = Capacity(cpus=8, gpus=tuple(Gpu(name, "A", 80.0) for name in names), workers=workers)
    assert len(local_executor.execute(todo, Store(tmp_path / "store"), capacity, Notes()).made) == len(todo)
    seen = {name: gpus.split(",") for what, name, gpus in events(tmp_path) if what == "end"}
    assert {name: len(set(gpus)) for name, gpus in seen.items()} == wanted | {"all": 3}
    for gpu in names:
        assert most_at_once(tmp_path, {name: int(gpu in gpus) for name, gpus in seen.items()}) <= 1


def test_a_gpu_is_given_to_one_job_at_a_time_and_hidden_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_gpus(monkeypatch)
    gpus = (Gpu("GPU-one", "A", 80.0), Gpu("GPU-two", "A", 80.0))
    heavy = [quick(f"heavy{i}", tmp_path, gpus=1, seconds=0.2) for i in range(4)]
    light = [quick(f"light{i}", tmp_path, seconds=0.2) for i in range(2)]
    capacity = Capacity(cpus=8, gpus=gpus)
    assert (
        len(local_executor.execute([*heavy, *light], Store(tmp_path / "store"), capacity, Notes()).made) == 6
    )
    seen = {name: gpu for what, name, gpu in events(tmp_path) if what == "end"}
    assert {seen[job.label] for job in heavy} == {"GPU-one", "GPU-two"}
    assert {seen[job.label] for job in light} == {""}
    for gpu in ("GPU-one", "GPU-two"):
        on_it = {name: int(seen[name] == gpu) for name in seen}
        assert most_at_once(tmp_path, on_it) == 1


def test_what_a_stage_prints_does_not_reach_standard_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = quick("a", tmp_path, prints="a plug-in's line")
    outcome = local_executor.execute([job], Store(tmp_path / "store"), Capacity(cpus=1), Notes())
    assert outcome.made == [job]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("a plug-in's line\n") == 2


def test_a_stage_that_exits_fails_alone(tmp_path: Path) -> None:
    jobs = [quick("a", tmp_path, fail="exit"), quick("b", tmp_path)]
    notes = Notes()
    outcome = local_executor.execute(jobs, Store(tmp_path / "store"), Capacity(cpus=1), notes)
    assert [job.label for job in outcome.made] == ["b"]
    assert ("failed", "a: SystemExit: 3") in notes.told
    assert notes.count("retried", "a") == 0
