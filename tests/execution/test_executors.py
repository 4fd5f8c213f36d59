"""Both executors on quick jobs: order, failures, workers that die, counted cores, a lost node."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution import local_executor, ray_executor
from pipeline.execution.scheduler import Execute, Outcome, find_missing
from tests.execution.quick_stage import Notes, events, most_at_once, quick

TWO = Capacity(cpus=2)


@pytest.fixture(scope="module")
def ray_of_two() -> Iterator[Execute]:
    """Start Ray on this machine with two cores; its workers find the quick stage."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        for name, value in ray_executor.SETTINGS.items():
            patch.setenv(name, value)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield ray_executor.execute
        ray.shutdown()


@pytest.fixture(params=["local", "ray"])
def execute(request: pytest.FixtureRequest) -> Execute:
    """Each executor's function."""
    return local_executor.execute if request.param == "local" else request.getfixturevalue("ray_of_two")


def text(store: Store, job: Job) -> str:
    return (store.path(job.kind, job.key) / "text").read_text()


def test_jobs_are_made_after_their_inputs_and_each_once(execute: Execute, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = quick("a", tmp_path)
    middle = [quick(name, tmp_path, first) for name in "bcd"]
    last = quick("e", tmp_path, *middle)
    notes = Notes()
    outcome = execute([first, *middle, last], store, TWO, notes)
    assert {job.label for job in outcome.made} == set("abcde")
    assert text(store, last) == "e b a c a d a"
    order = [(what, name) for what, name, _ in events(tmp_path)]
    assert sorted(order) == sorted((what, name) for what in ("begin", "end") for name in "abcde")
    assert order[0] == ("begin", "a")
    assert order[-1] == ("end", "e")
    assert all(notes.count(what, name) == 1 for what in ("started", "finished") for name in "abcde")
    assert find_missing([first, *middle, last], store, notes) == []


def test_jobs_that_depend_on_a_failed_one_are_skipped_and_the_others_are_made(
    execute: Execute, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    bad, good = quick("bad", tmp_path, fail="user"), quick("good", tmp_path)
    stands, both = quick("stands", tmp_path, bad), quick("both", tmp_path, good)
    above = quick("above", tmp_path, stands)
    outcome = execute([bad, good, stands, both, above], store, TWO, Notes())
    assert outcome.failed == {bad.key: "as told"}
    assert {job.label for job in outcome.made} == {"good", "both"}
    assert {job.label for job in outcome.skipped} == {"stands", "above"}
    assert store.failure(bad.kind, bad.key) == "as told"


def test_a_remark_of_a_job_is_shown_once_and_kept(execute: Execute, tmp_path: Path) -> None:
    store, notes = Store(tmp_path / "store"), Notes()
    todo = [quick("warns", tmp_path, remarks=1), quick("silent", tmp_path)]
    assert len(execute(todo, store, TWO, notes).made) == 2
    assert [told for what, told in notes.told if what == "noted"] == ["warns: remark 0"]
    assert [store.manifest(job.kind, job.key)["remarks"] for job in todo] == [["remark 0"], []]


def test_a_job_whose_worker_dies_is_made_by_another(execute: Execute, tmp_path: Path) -> None:
    store, notes = Store(tmp_path / "store"), Notes()
    dies, other = quick("dies", tmp_path, die=1), quick("other", tmp_path, seconds=0.5)
    after = quick("after", tmp_path, dies)
    outcome = execute([dies, other, after], store, TWO, notes)
    assert {job.label for job in outcome.made} == {"dies", "other", "after"}
    assert text(store, after) == "after dies"
    assert notes.count("retried", "dies") == 1
    assert notes.count("started", "dies") == 2
    processes = [more for what, name, more in events(tmp_path) if (what, name) == ("begin", "dies")]
    assert len(set(processes)) == 2


def test_a_job_whose_workers_always_die_is_given_up(execute: Execute, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    dies, other = quick("dies", tmp_path, die=99), quick("other", tmp_path)
    outcome = execute([dies, other], store, TWO, Notes())
    assert list(outcome.failed) == [dies.key]
    assert [job.label for job in outcome.made] == ["other"]
    assert not store.has(dies.kind, dies.key)


def test_a_full_disk_stops_the_whole_run(execute: Execute, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    todo = [quick("full", tmp_path, fail="disk"), quick("slow", tmp_path, seconds=60)]
    began = time.monotonic()
    with pytest.raises(UserError, match=r"No space left on device.*nothing half-written counts as done"):
        execute(todo, store, TWO, Notes())
    assert time.monotonic() - began < 40
    assert not any(store.has(job.kind, job.key) for job in todo)


class Interrupted(Notes):
    """Ctrl-C, when a job has been handed out."""

    def progressed(self, job: Job, message: object) -> None:
        raise KeyboardInterrupt


def test_jobs_of_an_interrupted_run_can_resume(execute: Execute, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    todo = [quick("a", tmp_path, seconds=1.0), quick("b", tmp_path, seconds=1.0)]
    with pytest.raises(KeyboardInterrupt):
        execute(todo, store, TWO, Interrupted())
    assert not any(store.has(job.kind, job.key) for job in todo)
    assert len(execute(todo, store, TWO, Notes()).made) == 2
    assert [text(store, job) for job in todo] == ["a", "b"]


def test_ray_counts_cores_too(ray_of_two: Execute, tmp_path: Path) -> None:
    threads = {"a": 2, "b": 1, "c": 1, "d": 5}
    todo = [quick(name, tmp_path, threads=count, seconds=0.3, remarks=30) for name, count in threads.items()]
    assert len(ray_of_two(todo, Store(tmp_path / "store"), TWO, Notes()).made) == 4
    assert most_at_once(tmp_path, threads | {"d": 2}) == 2


def test_all_messages_arrive_in_order_before_the_end_of_their_job(execute: Execute, tmp_path: Path) -> None:
    notes = Notes()
    todo = [quick(name, tmp_path, remarks=50) for name in "abcd"]
    assert len(execute(todo, Store(tmp_path / "store"), TWO, notes).made) == 4
    for name in "abcd":
        about = [(what, text) for what, text in notes.told if text.startswith(name)]
        remarks = [("noted", f"{name}: remark {number}") for number in range(50)]
        assert about == [("started", name), ("progressed", name), *remarks, ("finished", name)]


class KillsMailbox(Notes):
    """Kills the process that collects the messages of Ray's tasks when a job has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[int] = []

    def progressed(self, job: Job, message: object) -> None:
        if not self.killed:
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if (folder / "cmdline").read_bytes().startswith(b"ray::Mailbox") and self.is_ours(folder):
                        os.kill(int(folder.name), signal.SIGKILL)
                        self.killed.append(int(folder.name))

    def is_ours(self, folder: Path) -> bool:
        """Return whether a process descends from this one, and not from another test's Ray."""
        parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == os.getpid() or (parent > 1 and self.is_ours(Path("/proc") / str(parent)))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
def test_without_its_mailbox_ray_goes_on(ray_of_two: Execute, tmp_path: Path) -> None:
    killer = KillsMailbox()
    todo = [quick(name, tmp_path, seconds=0.5, remarks=3) for name in "abc"]
    assert len(ray_of_two(todo, Store(tmp_path / "store"), TWO, killer).made) == 3
    assert len(killer.killed) == 1
    assert all(killer.count("finished", name) == 1 for name in "abc")


def test_no_more_jobs_are_under_way_than_asked_for(execute: Execute, tmp_path: Path) -> None:
    todo = [quick(name, tmp_path, seconds=0.1) for name in "abc"]
    assert len(execute(todo, Store(tmp_path / "store"), Capacity(cpus=2, workers=1), Notes()).made) == 3
    assert most_at_once(tmp_path, dict.fromkeys("abc", 1)) == 1


def test_without_jobs_nothing_is_started(tmp_path: Path) -> None:
    assert local_executor.execute([], Store(tmp_path), TWO, Notes()) == Outcome()
    assert ray_executor.execute([], Store(tmp_path), TWO, Notes()) == Outcome()
