"""The artifacts from which the pictures of a suite are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class AdapterArtifacts:
    """What one adapter left for one task, None where there is nothing (yet). made: by set, as plan.AdapterJobs."""

    finetune: Path | None = None
    times: Path | None = None
    flow: Path | None = None
    made: Mapping[str, Path | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskArtifacts:
    """The artifacts of one task. adapters: by name. trained: by (method, augmentation, seed)."""

    sources: tuple[str, ...]
    target: str
    adapters: Mapping[str, AdapterArtifacts] = field(default_factory=dict)
    trained: Mapping[tuple[str, str, int], Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifacts:
    """What the pictures of a suite are drawn from. classes: names by label. tasks: in the order of the suite.

    The folder of an artifact is named by its key: the same name means the same content.
    """

    classes: Sequence[str]
    data: Path | None
    base: Path | None
    tasks: Mapping[str, TaskArtifacts]
