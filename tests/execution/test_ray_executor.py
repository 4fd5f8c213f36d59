"""Ray: clusters that can't be joined or started, and a node that is lost."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.execution import local_executor, ray_executor


@pytest.mark.slow
def test_the_job_of_a_lost_node_is_made_on_another_and_a_store_that_is_not_shared_is_an_error(
    tmp_path: Path,
) -> None:
    """Runs in a process of its own because a process can join one cluster only."""
    pytest.importorskip("ray")
    done = subprocess.run(
        [sys.executable, "-m", "tests.execution.lost_node", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outcome").read_text() == "made: lost, other; retried: lost"
    assert "does not see the store" in (tmp_path / "error").read_text()


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UserError, match="is for --executor ray"),
        local_executor.open_executor(None, "auto", cpu=False),
    ):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"pip install 'terrabench\[cluster\]'"),
        ray_executor.open_executor(None, None, cpu=False),
    ):
        pass


def test_an_address_where_nobody_listens_is_an_error_at_once() -> None:
    pytest.importorskip("ray")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with (
        pytest.raises(UserError, match=f"no Ray cluster answers at {address} .*leave --address out"),
        ray_executor.open_executor(None, address, cpu=True),
    ):
        pass


def test_a_temporary_folder_with_too_long_a_path_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    with (
        pytest.raises(UserError, match="too long a path for Ray's sockets; set RAY_TMPDIR to a shorter one"),
        ray_executor.open_executor(None, None, cpu=True),
    ):
        pass


JOIN = """
import sys
from pipeline.core.errors import UserError
from pipeline.execution import ray_executor
try:
    with ray_executor.open_executor(None, sys.argv[1], cpu=True) as capacity:
        print("joined", capacity.cpus)
except UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_joined_with_it_and_refused_in_a_sentence_without(
    tmp_path: Path,
) -> None:
    """The head is of another user, whose home folder holds the token."""
    pytest.importorskip("ray")
    homes = [tmp_path / "with", tmp_path / "without"]
    for home in homes:
        home.mkdir()
    (homes[0] / ".ray").mkdir()
    (homes[0] / ".ray" / "auth_token").write_text("5" * 64)
    with socket.socket() as unused, tempfile.TemporaryDirectory(prefix="ray-") as short:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        unused.close()
        common = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        common |= {"RAY_TMPDIR": short, "PYTHONPATH": str(ROOT)}
        token = common | {"HOME": str(homes[0]), "RAY_AUTH_MODE": "token"}
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        ray += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--include-dashboard=false"]
        head = subprocess.Popen(
            ray, env=token, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(port)
            address = f"127.0.0.1:{port}"
            answers = [
                subprocess.run(
                    [sys.executable, "-c", JOIN, address],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                ).stdout
                for environment in (token, common | {"HOME": str(homes[1])})
            ]
        finally:
            os.killpg(head.pid, signal.SIGTERM)  # its processes end with it
            try:
                head.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)
                head.wait(30)
    assert answers[0].splitlines()[-1] == "joined 1"
    assert "can't join the Ray cluster" in answers[1]
    assert "set RAY_AUTH_MODE=token and copy ~/.ray/auth_token to this machine" in answers[1]
    assert "Traceback" not in answers[1]


def _wait_for(port: int) -> None:
    """Wait until something listens at a port of this machine."""
    for _ in range(300):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.2)
    pytest.fail("the head of the cluster did not start")
