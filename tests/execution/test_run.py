"""The whole command on the smoke suite: kill -9, Ctrl-C, two runs at once, damage, a full disk."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.paths import ROOT
from pipeline.core.store import Store
from tests.execution.warm import start

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, str(ROOT / "run_benchmark.py")]
SUITE = "digits_smoke"


def products(folder: Path) -> dict[str, dict[str, str]]:
    """Hash of every file of every artifact, by the artifact's kind and key."""
    found = {}
    for manifest in (folder / "store" / "artifacts").glob("*/*/manifest.json"):
        files = json.loads(manifest.read_text())["files"]
        found["/".join(manifest.parts[-3:-1])] = {name: facts[0] for name, facts in files.items()}
    return found


def numbers(folder: Path) -> list[str]:
    """The lines of records.csv without the seconds, which differ from run to run."""
    table = pd.read_csv(folder / "results" / "digits_smoke" / "records.csv", dtype=str)
    return table.drop(columns="seconds").to_csv(index=False).splitlines()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite, run once without disturbance, by the command as it is typed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    folders = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    done = subprocess.run([*COMMAND, "run", SUITE, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[11/11]" in done.stderr
    return folder


def test_a_run_leaves_records_tables_and_plots(undisturbed: Path) -> None:
    results = undisturbed / "results" / SUITE
    assert len(numbers(undisturbed)) == 1 + 2 * 3 * 3
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert {".csv", ".md", ".tex", ".png"} <= kinds


def test_a_second_run_does_nothing(undisturbed: Path) -> None:
    def made() -> dict[Path, int]:
        drawn = [*(undisturbed / "store" / "artifacts").rglob("*"), *(undisturbed / "results").rglob("*")]
        files = (path for path in drawn if path.is_file() and path.name != "records.csv")
        return {path: path.stat().st_mtime_ns for path in files}

    before = made()
    again = start(undisturbed, SUITE)
    assert again.finish() == 0
    assert json.loads(again.out)["done"] == json.loads(again.out)["jobs"]
    assert made() == before


def test_a_table_that_was_changed_by_hand_is_written_again(undisturbed: Path) -> None:
    table = next((undisturbed / "results").rglob("accuracy_last.md"))
    text = table.read_text()
    table.write_text("mine")
    assert start(undisturbed, SUITE).finish() == 0
    assert table.read_text() == text


def test_plots_draws_the_picture_that_is_gone_and_nothing_else(undisturbed: Path) -> None:
    picture, *others = sorted((undisturbed / "results").rglob("*.png"))
    others += (undisturbed / "results").rglob("*.md")
    before, drawn = [path.stat().st_mtime_ns for path in others], picture.read_bytes()
    picture.unlink()
    folders = ["--store", str(undisturbed / "store"), "--results", str(undisturbed / "results"), "--json"]
    done = subprocess.run([*COMMAND, "plots", SUITE, *folders], capture_output=True, check=True)
    assert str(picture) in json.loads(done.stdout)["files"]
    assert picture.read_bytes() == drawn
    assert [path.stat().st_mtime_ns for path in others] == before


def copied(undisturbed: Path, folder: Path, *without: str) -> None:
    """The finished run in `folder`, where the artifacts of the kinds `without` are still to be made."""
    shutil.copytree(undisturbed, folder, dirs_exist_ok=True)
    for kind in without:
        shutil.rmtree(folder / "store" / "artifacts" / kind)


STAGES = ("prepare", "finetune", "generate", "train")
KILLS = 10


def finished(folder: Path) -> dict[Path, int]:
    """When each artifact of the store became one."""
    return {
        path: path.stat().st_mtime_ns for path in (folder / "store" / "artifacts").glob("*/*/manifest.json")
    }


def under_way(store: Path, kind: str) -> bool:
    """Whether a job of `kind` has been begun, or is finished."""
    return any((store / "work" / kind).glob("*/*")) or any((store / "artifacts" / kind).glob("*"))


def seconds_of(folder: Path, kind: str) -> float:
    """How long the jobs of `kind` took, one after another."""
    manifests = (folder / "store" / "artifacts" / kind).glob("*/manifest.json")
    return sum(json.loads(path.read_text())["seconds"] for path in manifests)


def test_killed_ten_times_in_each_stage_at_random_it_ends_with_the_same_records(
    undisturbed: Path, tmp_path: Path
) -> None:
    chance, store, kept = random.Random(0), tmp_path / "store", {}
    for kind in STAGES:
        killed, longest = 0, min(1.5, seconds_of(undisturbed, kind))
        while killed < KILLS:
            if (store / "artifacts" / kind).is_dir() and not any((store / "work" / kind).glob("*")):
                shutil.rmtree(store / "artifacts" / kind)  # the stage is over: let it be made again
                kept = finished(tmp_path)
            run = start(tmp_path, SUITE, "--quiet")
            run.wait_for(partial(under_way, store, kind))
            time.sleep(chance.uniform(0, longest))
            if not run.over():
                run.kill(signal.SIGKILL)
                killed += 1
            assert run.finish() in (0, -signal.SIGKILL), run.err
            assert kept.items() <= finished(tmp_path).items(), "what was finished was made again"
            kept = finished(tmp_path)
    last = start(tmp_path, SUITE, "--quiet")
    assert last.finish() == 0, last.err
    assert kept.items() <= finished(tmp_path).items()
    assert products(tmp_path) == products(undisturbed)
    assert numbers(tmp_path) == numbers(undisturbed)


UNDER_WAY = {"finetune": "finetune/*/scratch/*", "train": "train/*/scratch/*"}


@pytest.mark.parametrize("kind", list(UNDER_WAY))
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_so_and_goes_on_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, kind: str, how: signal.Signals
) -> None:
    copied(undisturbed, tmp_path, kind)
    run = start(tmp_path, SUITE)
    run.wait_for(lambda: any((tmp_path / "store" / "work").glob(UNDER_WAY[kind])))
    run.kill(how)
    assert run.finish() == 130
    assert "stopped; the same command goes on where it was" in run.err
    assert "Traceback" not in run.err
    assert products(tmp_path) != products(undisturbed)
    assert start(tmp_path, SUITE).finish() == 0
    assert products(tmp_path) == products(undisturbed)


def count_commits(log: Path) -> None:
    """Have every artifact that this process and its workers put into place noted in `log`."""
    commit = Store.commit

    def counted(self: Store, kind: str, key: str, about: dict) -> Path:
        with log.open("a") as file:
            file.write(f"{kind}/{key}\n")
        return commit(self, kind, key, about)

    Store.commit = counted


def test_two_runs_at_once_make_every_job_once(undisturbed: Path, tmp_path: Path) -> None:
    log = tmp_path / "made"
    copied(undisturbed, tmp_path, *STAGES)
    runs = [start(tmp_path, SUITE, name=name, prepare=partial(count_commits, log)) for name in ("one", "two")]
    assert [run.finish() for run in runs] == [0, 0], [run.err for run in runs]
    assert set(Counter(log.read_text().split()).values()) == {1}
    assert products(tmp_path) == products(undisturbed)
    assert numbers(tmp_path) == numbers(undisturbed)


def test_one_worker_and_two_give_the_same(undisturbed: Path, tmp_path: Path) -> None:
    copied(undisturbed, tmp_path, "train")
    assert start(tmp_path, SUITE, "--workers", "1").finish() == 0
    assert products(tmp_path) == products(undisturbed)


def test_a_damaged_artifact_is_named_and_made_again(undisturbed: Path, tmp_path: Path) -> None:
    copied(undisturbed, tmp_path)
    image = next((tmp_path / "store" / "artifacts" / "generate").glob("*/images/000003.png"))
    image.write_bytes(image.read_bytes()[:-1])
    run = start(tmp_path, SUITE)
    assert run.finish() == 0
    assert "images/000003.png has" in run.err.replace("\n", "")
    assert products(tmp_path) == products(undisturbed)


def test_verify_finds_one_byte_changed_behind_its_date_and_it_is_made_again(
    undisturbed: Path, tmp_path: Path
) -> None:
    copied(undisturbed, tmp_path)
    path = next((tmp_path / "store" / "artifacts" / "finetune").glob("*/adapter.safetensors"))
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    command = [*COMMAND, "verify", "digits_smoke", "--store", str(tmp_path / "store"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["damaged"][0]["damage"] == "adapter.safetensors was changed"
    assert products(tmp_path) != products(undisturbed)
    assert start(tmp_path, SUITE).finish() == 0
    assert products(tmp_path) == products(undisturbed)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """An empty file system of its own at `folder`, mounted with `options`."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_a_clear_stop_and_nothing_counts_as_done(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=8m") as small:
        run = start(small, SUITE)
        code, err = run.finish(), run.err
        assert code == 2
        assert "No space left on device" in err
        assert "Traceback" not in err
        assert not list((small / "store").glob("artifacts/*/*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a read-only file system needs root")
@pytest.mark.parametrize("command", ["run", "tables"])
def test_a_read_only_results_folder_is_told_before_any_work(tmp_path: Path, command: str) -> None:
    with mounted(tmp_path / "locked", "ro") as locked:
        folders = ["--store", str(tmp_path / "store"), "--results", str(locked)]
        done = subprocess.run(
            [*COMMAND, command, "digits_smoke", *folders], capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert "can't be written (Read-only file system); name another with --results" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("store/artifacts/*/*"))


def test_begun_here_a_suite_goes_on_on_ray_and_ends_here(undisturbed: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    copied(undisturbed, tmp_path, "train")
    part = start(tmp_path, SUITE, "--only", "method=erm,augmentation=none")
    assert part.finish() == 0, part.err
    assert len(finished(tmp_path)) == len(finished(undisturbed)) - 5
    cluster = start(tmp_path, SUITE, "--executor", "ray", name="cluster")
    cluster.wait_for(lambda: any((tmp_path / "store" / "work").glob(UNDER_WAY["train"])))
    cluster.kill(signal.SIGTERM)
    assert cluster.finish() == 130, cluster.err
    assert "stopped; the same command goes on where it was" in cluster.err
    assert "Traceback" not in cluster.err
    again = start(tmp_path, SUITE, "--executor", "ray", name="again")
    assert again.finish() == 0, again.err
    assert products(tmp_path) == products(undisturbed)
    assert numbers(tmp_path) == numbers(undisturbed)
