"""The whole command on the smoke suite, in processes of its own: kill -9 in each stage, Ctrl-C, damage, a full disk."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.config import ROOT

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, str(ROOT / "run_benchmark.py")]


@pytest.fixture(scope="module", autouse=True)
def heed_interrupts() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and so do the processes that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(folder: Path, *extra: str) -> subprocess.Popen[str]:
    """`run` on the smoke suite, in a process group of its own."""
    command = [
        *COMMAND,
        "run",
        "digits_smoke",
        "--store",
        str(folder / "store"),
        "--results",
        str(folder / "results"),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, "--json", "--quiet", *extra], start_new_session=True, **pipes)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit code, output, errors)."""
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


def products(folder: Path) -> dict[str, dict[str, str]]:
    """Hash of every file of every artifact, by the artifact's kind and key."""
    found = {}
    for manifest in (folder / "store" / "artifacts").glob("*/*/manifest.json"):
        files = json.loads(manifest.read_text())["files"]
        found["/".join(manifest.parts[-3:-1])] = {name: facts[0] for name, facts in files.items()}
    return found


def numbers(folder: Path) -> list[str]:
    """The lines of records.csv without the seconds, which differ from run to run."""
    import pandas as pd

    table = pd.read_csv(folder / "results" / "digits_smoke" / "records.csv", dtype=str)
    return table.drop(columns="seconds").to_csv(index=False).splitlines()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite, run once without disturbance."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, err = finish(start(folder))
    assert code == 0, err
    return folder


def test_a_run_leaves_records_tables_and_plots(undisturbed: Path) -> None:
    results = undisturbed / "results" / "digits_smoke"
    assert len(numbers(undisturbed)) == 1 + 2 * 3 * 3
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert {".csv", ".md", ".tex", ".png"} <= kinds


def test_a_second_run_does_nothing_in_seconds(undisturbed: Path) -> None:
    def made() -> dict[Path, int]:
        drawn = [*(undisturbed / "store" / "artifacts").rglob("*"), *(undisturbed / "results").rglob("*.png")]
        return {path: path.stat().st_mtime_ns for path in drawn if path.is_file()}

    before, began = made(), time.monotonic()
    code, out, _ = finish(start(undisturbed))
    assert code == 0
    assert json.loads(out)["done"] == json.loads(out)["jobs"]
    assert time.monotonic() - began < 20
    assert made() == before


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until `condition` holds; fail if the process ends first."""
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)


def stages_without(undisturbed: Path, folder: Path, kind: str) -> None:
    """A copy of the finished store in which the artifacts of `kind` are still to be made."""
    shutil.copytree(undisturbed / "store", folder / "store")
    shutil.rmtree(folder / "store" / "artifacts" / kind)


UNDER_WAY = {
    "prepare": "prepare/*/*.npy",
    "finetune": "finetune/*/scratch/*",
    "generate": "generate/*/images/*.png",
    "train": "train/*/scratch/*",
}


@pytest.mark.parametrize("kind", list(UNDER_WAY))
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_a_stage_it_goes_on_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, kind: str, how: signal.Signals
) -> None:
    stages_without(undisturbed, tmp_path, kind)
    process = start(tmp_path)
    wait_for(lambda: any((tmp_path / "store" / "work").glob(UNDER_WAY[kind])), process)
    os.killpg(process.pid, how)
    code, _, err = finish(process)
    assert code == (130 if how == signal.SIGINT else -9)
    assert "Traceback" not in err
    assert products(tmp_path) != products(undisturbed)
    code, _, err = finish(start(tmp_path))
    assert code == 0, err
    assert products(tmp_path) == products(undisturbed)
    assert numbers(tmp_path) == numbers(undisturbed)


def test_one_worker_and_two_give_the_same(undisturbed: Path, tmp_path: Path) -> None:
    stages_without(undisturbed, tmp_path, "train")
    assert finish(start(tmp_path, "--workers", "1"))[0] == 0
    assert products(tmp_path) == products(undisturbed)


def test_a_damaged_artifact_is_named_and_made_again(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "store", tmp_path / "store")
    image = next((tmp_path / "store" / "artifacts" / "generate").glob("*/images/000003.png"))
    image.write_bytes(image.read_bytes()[:-1])
    process = subprocess.Popen(
        [*COMMAND, "run", "digits_smoke", "--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "400"},
    )  # fmt: skip
    code, _, err = finish(process)
    assert code == 0
    assert "images/000003.png has" in err
    assert products(tmp_path) == products(undisturbed)


def test_verify_finds_one_byte_changed_behind_its_date(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "store", tmp_path / "store")
    path = next((tmp_path / "store" / "artifacts" / "finetune").glob("*/adapter.safetensors"))
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    command = [*COMMAND, "verify", "digits_smoke", "--store", str(tmp_path / "store"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["damaged"][0]["damage"] == "adapter.safetensors was changed"


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
        code, _, err = finish(start(small))
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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "digits_smoke", "--workers", "0"], "at least 1"),
        (["run", "digit_demo"], "did you mean 'digits_demo'?"),
        (["datasets", "show", "digitz"], "did you mean 'digits'?"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], told: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_help_teaches() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    for command in ("run", "plan", "tables", "verify", "datasets", "methods", "bench"):
        assert command in done.stdout
