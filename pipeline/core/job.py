"""Jobs, and the declaration of each kind of job.

A kind of job is declared once, as a subclass of `JobKind` under `@register`. The declarations of the
pipeline's stages are in pipeline/planning/kinds, one file for each kind; a new stage is one more such file,
and the module that runs it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from pipeline.core.plugin import Plugin

Params = TypeVar("Params", bound=BaseModel)
Declared = TypeVar("Declared", bound="type[JobKind[Any]]")


class Reduction(NamedTuple):
    """A field of a suite that can be changed so that a job needs less GPU memory.

    Attributes:
        field: The field's place in the suite, such as `finetune.precision`.
        value: Its present value.
        target: What to change it to; None for "less".
    """

    field: str
    value: object
    target: object = None

    @property
    def possible(self) -> bool:
        """Whether the field is not yet as low as it can be."""
        if self.target is None:
            return self.value != 1
        if self.target == "bf16":
            return self.value == "fp32"
        return self.value != self.target


class Workload(NamedTuple):
    """What a job computes for most of its time, so that the speed of a card at it can be looked up.

    Attributes:
        step: `finetune` (a training step of stage one), `denoise` (a pass of the denoiser) or `train`.
        network: The network, by its name in planning/network_sizes.py.
        resolution: Height and width of its images, in pixels.
        precision: Precision of its passes.
        compiled: Whether it is compiled.
        checkpointing: Whether its activations are computed twice instead of kept.
    """

    step: str
    network: str
    resolution: int
    precision: str = "fp32"
    compiled: bool = False
    checkpointing: bool = False


class JobKind(Generic[Params]):
    """The declaration of one kind of job: its parameters, the module that carries it out, and its cost.

    The methods estimate the cost of a job from its parameters. Those that a kind does not override say that
    the kind needs one core, no GPU and no disk, and that its duration is unknown.

    Attributes:
        name: What the kind is called in keys, in the store and in tables.
        params: The pydantic class of its parameters.
        code_version: Part of the key of every job of the kind. Raise it in the change that makes the kind's
            module write something else for the same parameters; all artifacts of the kind are then made
            again.
        module: The dotted name of the module whose `run(params, inputs, workspace, progress)` carries out a
            job (see pipeline/core/stage.py). Only a worker with such a job imports it.
        units_per_second: The stated speed of one CPU core, for a kind whose work is not counted in
            multiply-adds; such a kind never takes a GPU.
    """

    name: str
    params: type[Params]
    code_version: int
    module: str
    units_per_second: float | None = None

    def images(self, params: Params, inputs: "Mapping[str, Job]") -> int:
        """How many images a job makes or learns from; an upper limit, where only its inputs decide."""
        return 0

    def work(self, params: Params, images: int) -> float | None:
        """Multiply-adds of a job with `images` images (see `images`), or None where nothing is known."""
        return None

    def rate_group(self, params: Params) -> str:
        """What two jobs of the kind must share so that the measured speed of one holds for the other."""
        return ""

    def workload(self, params: Params) -> Workload | None:
        """What a job computes for most of its time; None where no network does."""
        return None

    def processes(self, params: Params) -> int:
        """How many processes share a job; each takes a GPU of its own, if the job takes any."""
        return 1

    def cpus(self, params: Params) -> int:
        """The CPU cores that a job keeps busy: the threads of all its processes."""
        threads: int = getattr(params, "threads", 1)
        return threads * self.processes(params)

    def gpu_gib(self, params: Params) -> float:
        """GiB of GPU memory: weights, what training keeps of them, and activations."""
        return 0.0

    def disk(self, params: Params, inputs: "Mapping[str, Job]") -> float:
        """Bytes of a job's artifact."""
        return 0.0

    def scratch(self, params: Params, inputs: "Mapping[str, Job]") -> float:
        """Bytes that a job keeps on the disk only while it is under way."""
        return 0.0

    def reductions(self, params: Params) -> list[Reduction]:
        """What to change where the GPU's memory is too small, with the least loss of quality first."""
        return []


KINDS: dict[str, JobKind[Any]] = {}
"""The kinds of jobs, by name."""


def register(declaration: Declared) -> Declared:
    """Declare a kind of job; a class decorator."""
    KINDS[declaration.name] = declaration()
    return declaration


@dataclass(frozen=True)
class Job:
    """One node of the graph: a kind, its parameters, and the jobs whose artifacts it reads.

    Attributes:
        kind: The name of its kind, a key of `KINDS`.
        params: An instance of the kind's `params`.
        inputs: The jobs whose artifacts it reads, by the role that each artifact plays.
        label: What people read, such as `finetune MN->MM`.
        plugin: The plug-in that declares the method of a training; None for the methods of this project.
        key: The hash of its kind, code version, parameters, inputs' keys and, if there is one, the plug-in's
            text, which no code version covers. Jobs with one key have one artifact, so that two suites that
            state the same work share it, and a changed setting remakes only what depends on it.
    """

    kind: str
    params: BaseModel
    inputs: "Mapping[str, Job]"
    label: str
    plugin: Plugin | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        content = {
            "kind": self.kind,
            "version": self.declaration.code_version,
            "params": self.params.model_dump(mode="json"),
            "inputs": {role: job.key for role, job in self.inputs.items()},
        }
        if self.plugin is not None:
            content["plugin"] = self.plugin.sha256
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest()[:24])

    def __hash__(self) -> int:
        return hash((self.kind, self.key))

    @property
    def declaration(self) -> JobKind[Any]:
        """The declaration of its kind."""
        return KINDS[self.kind]

    def params_as(self, model: type[Params]) -> Params:
        """Its parameters, of which the caller knows that they are an instance of `model`.

        Raises:
            TypeError: They are not.
        """
        if not isinstance(self.params, model):
            raise TypeError(
                f"{self.label}: the parameters are {type(self.params).__name__}, not {model.__name__}"
            )
        return self.params
