"""The sbatch script of docs/cluster.md, run as it stands on two nodes: namespaces that a cable joins."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.paths import ROOT

NAMESPACES = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--mount", "--mount-proc", "--fork"]
"""The command that starts another as root of its own network and processes.

`ray stop` ends every Ray process that it sees, and must not see those of other tests.
"""

SUITE = """\
extends: digits_smoke
name: one_training
methods: [ERM]
augmentations: [none]
selections: [last]
"""

BATCH = """\
#!/bin/bash
# Starts the batch script on the first node.
ip link set lo up
ip link add first type veth peer name second
ip address add 10.77.0.1/24 dev first
ip link set first up
exec bash suite.sbatch benchmarks/one_training.yaml
"""

SCONTROL = """\
#!/bin/bash
[ "$*" = "show hostnames node[1-2]" ] && printf '10.77.0.1\\n10.77.0.2\\n'
"""

SRUN = """\
#!/bin/bash
# Runs the command on both nodes; the status is the greatest of theirs.
unshare --pid --mount --mount-proc --fork --kill-child node "$@" &
first=$!
unshare --net --pid --mount --mount-proc --fork --kill-child second_node "$@" &
second=$!
while [ "$(readlink "/proc/$second/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link set second netns "$second"
wait "$first"
status=$?
wait "$second" || status=$(($? > status ? $? : status))
exit "$status"
"""

NODE = """\
#!/bin/bash
# Runs the command and, as process 1, reaps the processes that lose their parents.
"$@"
exit $?
"""

SECOND_NODE = """\
#!/bin/bash
# Runs the command once the cable is plugged in.
until ip address add 10.77.0.2/24 dev second 2> /dev/null; do sleep 0.1; done
ip link set lo up
ip link set second up
exec node "$@"
"""


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def write_checkout(folder: Path) -> None:
    """Copy the project to `folder`, with the recipe, a suite and a link to the environment of this test."""
    for name in ("pipeline", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "datasets").mkdir()
    for card in (ROOT / "datasets").glob("*.yaml"):
        shutil.copy(card, folder / "datasets")
    shutil.copy(ROOT / "run_benchmark.py", folder)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "benchmarks" / "one_training.yaml").write_text(SUITE)
    page = (ROOT / "docs" / "cluster.md").read_text()
    (recipe,) = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    changed = recipe.replace("/SHARED/terra-bench", str(folder)).replace("/SHARED/store", f"{folder}/store")
    assert "SHARED" not in changed
    (folder / "suite.sbatch").write_text(changed)


@pytest.mark.slow
def test_the_recipe_for_slurm_runs_a_suite_on_two_nodes(tmp_path: Path, ray_folder: Path) -> None:
    """The home folder holds a token, which makes `ray start --head` ask for it."""
    pytest.importorskip("ray")
    cable = ["ip", "link", "add", "first", "type", "veth", "peer", "name", "second"]
    tools = shutil.which("unshare") and shutil.which("ip")
    if not tools or subprocess.run([*NAMESPACES, *cable], check=False).returncode:
        pytest.skip("needs iproute2, and namespaces that a cable can join")
    checkout, bin_folder, home = tmp_path / "terra-bench", tmp_path / "bin", tmp_path / "home"
    write_checkout(checkout)
    bin_folder.mkdir()
    scripts = {
        "batch": BATCH,
        "scontrol": SCONTROL,
        "srun": SRUN,
        "node": NODE,
        "second_node": SECOND_NODE,
    }
    for name, text in scripts.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("5" * 64)
    environment = {
        "PATH": f"{bin_folder}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(home),
        "RAY_TMPDIR": str(ray_folder),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # then a node gives up a head that is gone
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }
    with (tmp_path / "log").open("w") as log:
        batch = subprocess.Popen(
            [*NAMESPACES, "--kill-child", "batch"],
            cwd=checkout,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            status = batch.wait(400)
        finally:
            batch.kill()
    text = (tmp_path / "log").read_text()
    assert status == 0, text[:10_000]
    assert "[2/2] train" in text
    records = pd.read_csv(checkout / "results" / "one_training" / "records.csv")
    assert records["method"].tolist() == ["ERM"]
