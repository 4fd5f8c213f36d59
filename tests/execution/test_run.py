"""The whole command on the smoke suite: what it writes, two runs at once, damage, another executor.

Runs that are killed or meet a full disk are in tests/robustness.
"""

import json
import os
import signal
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from pipeline.core.store import Store
from tests.execution.smoke import COMMAND, STAGES, SUITE, copied, finished, numbers, products
from tests.execution.warm import start

pytestmark = pytest.mark.slow


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


UNDER_WAY = "train/*/scratch/*"


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


def test_begun_here_a_suite_goes_on_on_ray_and_ends_here(undisturbed: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    copied(undisturbed, tmp_path, "train")
    part = start(tmp_path, SUITE, "--only", "method=erm,augmentation=none")
    assert part.finish() == 0, part.err
    assert len(finished(tmp_path)) == len(finished(undisturbed)) - 5
    cluster = start(tmp_path, SUITE, "--executor", "ray", name="cluster")
    cluster.wait_for(lambda: any((tmp_path / "store" / "work").glob(UNDER_WAY)))
    cluster.kill(signal.SIGTERM)
    assert cluster.finish() == 130, cluster.err
    assert "stopped; the same command goes on where it was" in cluster.err
    assert "Traceback" not in cluster.err
    again = start(tmp_path, SUITE, "--executor", "ray", name="again")
    assert again.finish() == 0, again.err
    assert products(tmp_path) == products(undisturbed)
    assert numbers(tmp_path) == numbers(undisturbed)
