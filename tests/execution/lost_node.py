"""Run by test_executors.py: a Ray cluster of two nodes, of which one is lost while it makes a job."""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]
os.environ["PYTHONPATH"] = sys.path[0]

import ray
from ray.cluster_utils import Cluster

from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution import ray_executor as on_ray
from pipeline.execution.ray_executor import SETTINGS, execute
from tests.execution.quick_stage import Notes, quick


class Loses(Notes):
    """Takes a node away when the job called `lost` has begun on it."""

    def __init__(self, cluster: Cluster, node: object) -> None:
        super().__init__()
        self.cluster, self.node = cluster, node

    def progressed(self, job: Job, message: object) -> None:
        if job.label == "lost" and self.node is not None:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None
            self.cluster.add_node(num_cpus=1)


def told_of_a_store_that_is_not_shared(folder: Path) -> str:
    """What is said where the driver writes into a folder that the nodes do not see."""
    write, on_ray.write_atomic = on_ray.write_atomic, lambda path, data: None
    try:
        execute([quick("a", folder)], Store(folder / "store"), Capacity(cpus=1), Notes())
    except UserError as error:
        return str(error)
    finally:
        on_ray.write_atomic = write
    return "nothing"


def main(folder: Path) -> None:
    """The head has no cores, so that jobs are made on the other nodes."""
    os.environ.update(SETTINGS)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    (folder / "told").write_text(told_of_a_store_that_is_not_shared(folder))
    notes = Loses(cluster, node)
    todo = [quick("lost", folder, seconds=3.0), quick("other", folder)]
    outcome = execute(todo, Store(folder / "store"), Capacity(cpus=1), notes)
    retried = [label for what, label in notes.told if what == "retried"]
    made = sorted(job.label for job in outcome.made)
    (folder / "outcome").write_text(f"made: {', '.join(made)}; retried: {', '.join(retried)}")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
