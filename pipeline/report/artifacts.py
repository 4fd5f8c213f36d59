"""The artifacts that the figures of a suite are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.job import Job
from pipeline.core.store import Store


@dataclass(frozen=True)
class AdapterArtifacts:
    """The artifacts of one adapter for one task; None where a job is not finished.

    Attributes:
        finetune: The fine-tuned adapter.
        times: The t-predictor (dg).
        flow: The domain flow (uda).
        made: The sets of made images, by name.
    """

    finetune: Path | None = None
    times: Path | None = None
    flow: Path | None = None
    made: Mapping[str, Path | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskArtifacts:
    """The artifacts of one task.

    Attributes:
        sources: The source domains.
        target: The target domain.
        adapters: By the adapter's name.
        trained: Trainings by (method, augmentation, seed).
    """

    sources: tuple[str, ...]
    target: str
    adapters: Mapping[str, AdapterArtifacts] = field(default_factory=dict)
    trained: Mapping[tuple[str, str, int], Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of a suite, whose folders are named by their keys: the same name means the same content.

    Attributes:
        classes: Class names by label.
        data: The prepared dataset.
        base: The images of the control.
        tasks: By task, in the order of the suite.
    """

    classes: Sequence[str]
    data: Path | None
    base: Path | None
    tasks: Mapping[str, TaskArtifacts]


def artifact(job: Job | None, store: Store) -> Path | None:
    """Return the folder of a job's artifact, or None if the job is not finished."""
    return store.path(job.kind, job.key) if job is not None and store.has(job.kind, job.key) else None
