"""Lose a node of a Ray cluster while it makes a job; test_ray_executor.py starts this as a process."""

import os
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.paths import ROOT
from pipeline.core.store import Store
from pipeline.execution import ray_executor
from pipeline.execution.ray_executor import SETTINGS, execute
from tests.execution.quick_stage import Notes, quick


class RemovesNode(Notes):
    """Removes a node when the job called `lost` has begun on it."""

    def __init__(self, cluster: Cluster, node: object) -> None:
        super().__init__()
        self.cluster, self.node = cluster, node

    def progressed(self, job: Job, message: object) -> None:
        if job.label == "lost" and self.node is not None:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None
            self.cluster.add_node(num_cpus=1)


def error_of_a_store_that_is_not_shared(folder: Path) -> str:
    """Return the error of a run whose store the nodes do not see."""
    write, ray_executor.write_atomic = ray_executor.write_atomic, lambda path, data: None
    try:
        execute([quick("a", folder)], Store(folder / "store"), Capacity(cpus=1), Notes())
    except UserError as error:
        return str(error)
    finally:
        ray_executor.write_atomic = write
    return "nothing"


def main(folder: Path) -> None:
    """Run two jobs on a cluster whose head has no cores, so that the other nodes make them."""
    os.environ.update(SETTINGS | {"PYTHONPATH": str(ROOT)})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    (folder / "error").write_text(error_of_a_store_that_is_not_shared(folder))
    notes = RemovesNode(cluster, node)
    todo = [quick("lost", folder, seconds=3.0), quick("other", folder)]
    outcome = execute(todo, Store(folder / "store"), Capacity(cpus=1), notes)
    retried = [label for what, label in notes.told if what == "retried"]
    made = sorted(job.label for job in outcome.made)
    (folder / "outcome").write_text(f"made: {', '.join(made)}; retried: {', '.join(retried)}")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
