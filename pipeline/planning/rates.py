"""How fast a card computes: stated of an A100, or measured by `bench gpu` and read from a file.

Speeds are multiply-adds per second, so that a measurement at one size gives the time of a job of another.
docs/hours.md derives the stated ones.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from pipeline.config import Count, Precision, Strict
from pipeline.core.errors import UserError
from pipeline.core.job import Workload
from pipeline.core.paths import PROGRAM, base_folder
from pipeline.planning.network_sizes import NETWORKS

CPU = "cpu"
"""The device that a manifest or a file of rates names where no GPU is used."""

GPU = "an NVIDIA A100"
"""The GPU whose speed is stated."""

CPU_CORE = 15e9
"""Multiply-adds per second of one CPU core: what the jobs of benchmarks/digits.yaml reached on a server."""

PEAK = 156e12
"""Multiply-adds per second that an A100 can do in half precision: 312e12 operations, of which two are one."""

IN_FULL_PRECISION = 1e13
"""Multiply-adds per second of an A100 in fp32, with the convolutions in TF32.

NVIDIA publishes 938 images per second for training ResNet-50 in TF32, at 3 x 4.09e9 multiply-adds each:
1.15e13. Products of matrices are slower, because they are computed without TF32.
"""

UTILISATION: dict[tuple[str, bool], float] = {
    ("sdxl", False): 0.39,
    ("sdxl", True): 0.51,
    ("sd15", False): 0.30,
    ("sd15", True): 0.39,
    ("classifier", False): 0.19,
    ("classifier", True): 0.19,
}
"""The share of PEAK that is reached in half precision, by network and whether it is compiled.

sdxl: 30 guided steps at 1,024 px in 3.31 s, or 2.54 s compiled (diffusers, "Accelerate inference of
text-to-image diffusion models"). sd15: 3.6 guided steps per second of 16 images at 512 px, or 4.68 compiled
(diffusers, "PyTorch 2.0"). classifier: 2,470 images per second of training ResNet-50 in mixed precision
(NVIDIA, DeepLearningExamples).
"""


def stated_on_gpu(workload: Workload | None) -> float:
    """Return the multiply-adds per second of an A100 that are stated for a workload; None is in fp32."""
    if workload is None or workload.precision == "fp32":
        return IN_FULL_PRECISION
    network = workload.network if workload.network in ("sdxl", "sd15") else "classifier"
    return PEAK * UTILISATION[network, workload.compiled]


class Measurement(Strict):
    """The time of one step on a card."""

    step: Literal["finetune", "denoise", "encode", "decode", "train"] = Field(
        description="a training step of stage one, a pass of the denoiser, of the VAE's encoder or decoder, "
        "or a training step of stage three"
    )
    network: str = Field(description="the base model, or the backbone")
    resolution: Count = Field(description="height and width of images, in pixels")
    precision: Precision = Field(description="precision of the passes")
    checkpointing: bool = Field(default=False, description="finetune: with gradient checkpointing")
    compiled: bool = Field(default=False, description="whether the network was compiled")
    images: Count = Field(description="images in a step")
    passes: Annotated[float, Field(gt=0)] = Field(description="cost of a step, in forward passes")
    seconds: Annotated[float, Field(gt=0)] = Field(description="median duration of a step")
    gib: Annotated[float, Field(gt=0)] | None = Field(description="peak memory of the GPU; null on a CPU")

    @field_validator("network")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in NETWORKS:
            raise ValueError(f"{name!r} is not one of {', '.join(NETWORKS)}")
        return name

    @property
    def rate(self) -> float:
        """Multiply-adds per second."""
        network = NETWORKS[self.network]
        return self.images * self.passes * network.pass_at(self.resolution) / self.seconds


class CardRates(Strict):
    """What `bench gpu` measured on one card; on a CPU, on one core."""

    format: Literal[1] = Field(description="version of this format")
    card: str = Field(min_length=1, description="name of the GPU, as nvidia-smi gives it, or cpu")
    gib: Annotated[float, Field(gt=0)] | None = Field(description="memory of the GPU; null on a CPU")
    versions: dict[str, str] = Field(description="versions of the libraries")
    measurements: list[Measurement] = Field(min_length=1, description="what was measured")

    def rate(self, workload: Workload | None) -> float | None:
        """Return multiply-adds per second of a workload; None if nothing like it was measured.

        Both half precisions count as one, and the resolution nearest to the workload's is taken.
        """
        if workload is None:
            return None
        alike = [
            one
            for one in self.measurements
            if (one.step, one.network, one.checkpointing, one.compiled)
            == (workload.step, workload.network, workload.checkpointing, workload.compiled)
            and (one.precision == "fp32") == (workload.precision == "fp32")
        ]
        nearest = min(alike, key=lambda one: abs(one.resolution - workload.resolution), default=None)
        return None if nearest is None else nearest.rate


def read_rates(path: Path) -> CardRates:
    """Read a file that `bench gpu --json` wrote.

    Raises:
        UserError: The file can't be read, or a field of it is wrong.
    """
    remedy = f"write it with `{PROGRAM} bench gpu --json`"
    try:
        return CardRates.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"rates {path} can't be read ({error.strerror}); {remedy}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"rates {path}: {field}: {first['msg']}; {remedy}") from error
    except ValueError as error:
        raise UserError(f"rates {path} is not JSON ({error}); {remedy}") from error


def committed_rates(card: str) -> CardRates | None:
    """Return the rates of a card in results/rates, if they are there."""
    path = base_folder() / "results" / "rates" / f"{file_name(card)}.json"
    return read_rates(path) if path.is_file() else None


def file_name(card: str) -> str:
    """Return the name of a card's file of rates, such as `nvidia-a100-sxm4-80gb`."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
