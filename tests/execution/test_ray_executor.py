"""Ray: clusters that can't be joined or started, and a node that is lost."""

import socket
import subprocess
import sys
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
