"""Both executors on quick jobs: order, failures, workers that die, cores and GPUs that are counted, a lost node."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity, Gpu
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution import local_executor
from pipeline.execution import ray_executor as on_ray
from pipeline.execution.scheduler import Outcome, Walker, missing
from tests.execution.quick_stage import Notes, events, quick

TWO = Capacity(cpus=2)


@pytest.fixture(scope="module")
def ray_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walker]:
    """A Ray of this machine with two cores, whose workers find the quick stage."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        for name, value in on_ray.SETTINGS.items():
            patch.setenv(name, value)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield on_ray.walk
        ray.shutdown()


@pytest.fixture(params=["local", "ray"])
def walk(request: pytest.FixtureRequest) -> Walker:
    """Each executor."""
    return local_executor.walk if request.param == "local" else request.getfixturevalue("ray_of_two")


def text(store: Store, job: Job) -> str:
    return (store.path(job.kind, job.key) / "text").read_text()


def test_jobs_are_made_after_their_inputs_and_each_once(walk: Walker, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = quick("a", tmp_path)
    middle = [quick(name, tmp_path, first) for name in "bcd"]
    last = quick("e", tmp_path, *middle)
    notes = Notes()
    outcome = walk([first, *middle, last], store, TWO, notes)
    assert {job.label for job in outcome.made} == set("abcde")
    assert text(store, last) == "e b a c a d a"
    order = [(what, name) for what, name, _ in events(tmp_path)]
    assert sorted(order) == sorted((what, name) for what in ("begin", "end") for name in "abcde")
    assert order[0] == ("begin", "a")
    assert order[-1] == ("end", "e")
    assert all(notes.count(what, name) == 1 for what in ("started", "finished") for name in "abcde")
    assert missing([first, *middle, last], store, notes) == []


def test_what_stands_on_a_failed_job_is_not_tried_and_the_rest_is_made(walk: Walker, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    bad, good = quick("bad", tmp_path, fail="user"), quick("good", tmp_path)
    stands, both = quick("stands", tmp_path, bad), quick("both", tmp_path, good)
    above = quick("above", tmp_path, stands)
    outcome = walk([bad, good, stands, both, above], store, TWO, Notes())
    assert outcome.failed == {bad.key: "as told"}
    assert {job.label for job in outcome.made} == {"good", "both"}
    assert {job.label for job in outcome.skipped} == {"stands", "above"}
    assert store.failure(bad.kind, bad.key) == "as told"


def test_what_a_job_warns_of_is_told_once_and_kept(walk: Walker, tmp_path: Path) -> None:
    store, notes = Store(tmp_path / "store"), Notes()
    todo = [quick("warns", tmp_path, remark="all t are equal"), quick("silent", tmp_path)]
    assert len(walk(todo, store, TWO, notes).made) == 2
    assert [told for what, told in notes.told if what == "noted"] == ["warns: all t are equal"]
    assert [store.manifest(job.kind, job.key)["remarks"] for job in todo] == [["all t are equal"], []]


def test_a_job_whose_worker_dies_is_made_by_another(walk: Walker, tmp_path: Path) -> None:
    store, notes = Store(tmp_path / "store"), Notes()
    dies, other = quick("dies", tmp_path, die=1), quick("other", tmp_path, seconds=0.5)
    after = quick("after", tmp_path, dies)
    outcome = walk([dies, other, after], store, TWO, notes)
    assert {job.label for job in outcome.made} == {"dies", "other", "after"}
    assert text(store, after) == "after dies"
    assert notes.count("retried", "dies") == 1
    assert notes.count("started", "dies") == 2
    processes = [more for what, name, more in events(tmp_path) if (what, name) == ("begin", "dies")]
    assert len(set(processes)) == 2


def test_a_job_whose_workers_always_die_is_given_up(walk: Walker, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    dies, other = quick("dies", tmp_path, die=99), quick("other", tmp_path)
    outcome = walk([dies, other], store, TWO, Notes())
    assert list(outcome.failed) == [dies.key]
    assert [job.label for job in outcome.made] == ["other"]
    assert not store.has(dies.kind, dies.key)


def test_a_full_disk_stops_the_whole_walk(walk: Walker, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    todo = [quick("full", tmp_path, fail="disk"), quick("slow", tmp_path, seconds=60)]
    began = time.monotonic()
    with pytest.raises(UserError, match="No space left on device.*nothing half-written counts as done"):
        walk(todo, store, TWO, Notes())
    assert time.monotonic() - began < 40
    assert not any(store.has(job.kind, job.key) for job in todo)


class Interrupted(Notes):
    """Ctrl-C, when a job has been handed out."""

    def progressed(self, job: Job, message: object) -> None:
        raise KeyboardInterrupt


def test_interrupted_it_leaves_jobs_that_can_be_gone_on_with(walk: Walker, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    todo = [quick("a", tmp_path, seconds=1.0), quick("b", tmp_path, seconds=1.0)]
    with pytest.raises(KeyboardInterrupt):
        walk(todo, store, TWO, Interrupted())
    assert not any(store.has(job.kind, job.key) for job in todo)
    assert len(walk(todo, store, TWO, Notes()).made) == 2
    assert [text(store, job) for job in todo] == ["a", "b"]


def most_at_once(folder: Path, weights: dict[str, int]) -> int:
    """The greatest sum of the weights of the jobs that were under way together."""
    now, most = 0, 0
    for what, name, _ in events(folder):
        now += weights[name] if what == "begin" else -weights[name]
        most = max(most, now)
    return most


def test_no_more_threads_are_at_work_than_there_are_cores(tmp_path: Path) -> None:
    threads = {"a": 2, "b": 1, "c": 2, "d": 1, "e": 1, "f": 5}
    todo = [quick(name, tmp_path, threads=count, seconds=0.3) for name, count in threads.items()]
    assert len(local_executor.walk(todo, Store(tmp_path / "store"), Capacity(cpus=3), Notes()).made) == 6
    assert most_at_once(tmp_path, threads) == 5  # f wants more than there is, and is made alone
    assert most_at_once(tmp_path, threads | {"f": 0}) == 3


def test_ray_counts_cores_too(ray_of_two: Walker, tmp_path: Path) -> None:
    threads = {"a": 2, "b": 1, "c": 1, "d": 5}
    todo = [quick(name, tmp_path, threads=count, seconds=0.3) for name, count in threads.items()]
    assert len(ray_of_two(todo, Store(tmp_path / "store"), TWO, Notes()).made) == 4
    assert most_at_once(tmp_path, threads | {"d": 2}) == 2


def test_no_more_jobs_are_under_way_than_asked_for(walk: Walker, tmp_path: Path) -> None:
    todo = [quick(name, tmp_path, seconds=0.1) for name in "abc"]
    assert len(walk(todo, Store(tmp_path / "store"), Capacity(cpus=2, workers=1), Notes()).made) == 3
    assert most_at_once(tmp_path, dict.fromkeys("abc", 1)) == 1


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
    assert len(local_executor.walk(todo, Store(tmp_path / "store"), capacity, Notes()).made) == len(todo)
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
    assert len(local_executor.walk([*heavy, *light], Store(tmp_path / "store"), capacity, Notes()).made) == 6
    seen = {name: gpu for what, name, gpu in events(tmp_path) if what == "end"}
    assert {seen[job.label] for job in heavy} == {"GPU-one", "GPU-two"}
    assert {seen[job.label] for job in light} == {""}
    for gpu in ("GPU-one", "GPU-two"):
        on_it = {name: int(seen[name] == gpu) for name in seen}
        assert most_at_once(tmp_path, on_it) == 1


@pytest.mark.slow
def test_the_job_of_a_lost_node_is_made_on_another_and_a_store_that_is_not_shared_is_told(
    tmp_path: Path,
) -> None:
    """In a process of its own, for a process can be of one cluster."""
    pytest.importorskip("ray")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("lost_node.py")), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outcome").read_text() == "made: lost, other; retried: lost"
    assert "does not see the store" in (tmp_path / "told").read_text()


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UserError, match="is for --executor ray"),
        local_executor.opened(None, "auto", cpu=False),
    ):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"pip install 'terrabench\[cluster\]'"),
        on_ray.opened(None, None, cpu=False),
    ):
        pass


def test_nothing_to_do_is_no_walk(tmp_path: Path) -> None:
    assert local_executor.walk([], Store(tmp_path), TWO, Notes()) == Outcome()
    assert on_ray.walk([], Store(tmp_path), TWO, Notes()) == Outcome()


def test_a_damaged_artifact_counts_as_missing(tmp_path: Path) -> None:
    store, job, notes = Store(tmp_path / "store"), quick("a", tmp_path), Notes()
    local_executor.walk([job], store, TWO, notes)
    (store.path(job.kind, job.key) / "text").write_text("b")
    assert missing([job], store, notes) == [job]
    assert "(a): text was changed; it is made again" in notes.told[-1][1]
    shutil.rmtree(tmp_path / "store")
