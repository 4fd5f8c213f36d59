"""Job `train`: stage three, one training of one method on one task."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import (
    Count,
    Fraction,
    Orientation,
    Rate,
    Seed,
    TrainSettings,
    keyed_unless_default,
    method_label,
)
from pipeline.core.job import Job, JobKind, Reduction, Workload, register
from pipeline.planning.kinds.classifier import ClassifierParams
from pipeline.planning.network_sizes import GIB, TRAINING_PASSES, backbone, backbone_name

GRADIENTS = {"SDAT": 2, "ELS": 2, "MIC": 2, "SAGM": 2, "MCD": 6}
"""The gradients that a step computes, of the methods that compute more than one: those that seek flat minima,
and MCD, whose step has six updates by default."""


class TrainParams(ClassifierParams):
    """One training."""

    image_size: Count = Field(description="height and width of images, in pixels")
    method: str = Field(description="name of the method")
    method_version: Count = keyed_unless_default(1, "version of the method's implementation")
    hyperparameters: dict[str, float | int | bool | str] = Field(
        description="hyper-parameters that differ from the defaults"
    )
    augmentation: str = Field(description="the augmentation")
    made_fraction: Fraction | None = Field(
        description="uda: share of made images in a labelled batch; null = their share among all"
    )
    made_weight: Rate = Field(description="dg: weight of a made image in the task loss")
    settings: TrainSettings = Field(description="how the classifier is trained")
    seed: Seed = Field(description="seed of weights, batches and augmentation")
    orientation: Orientation = keyed_unless_default(
        "stored", "how image files are read: as they are stored, or turned as their EXIF data say"
    )

    def identity(self) -> dict[str, str | int]:
        """Return the columns of its records that are known before it has run."""
        return super().identity() | {
            "method": method_label(self.method, self.settings),
            "augmentation": self.augmentation,
            "backbone": self.settings.backbone,
            "seed": self.seed,
        }


@register
class Train(JobKind[TrainParams]):
    """Trains a classifier and evaluates it on the target domain."""

    name = "train"
    params = TrainParams
    code_version = 1
    module = "pipeline.classify.training.stage"

    def images_per_step(self, params: TrainParams) -> int:
        """Images in a step: of the source and of the target (uda), or of every source domain (dg)."""
        domains = 2 if params.setting == "uda" else len(params.sources)
        return params.settings.batch_size * domains

    def work(self, params: TrainParams, images: int) -> float:
        """Count the passes of all iterations."""
        one_pass = backbone(params.settings.backbone).pass_at(params.image_size)
        passes = TRAINING_PASSES * GRADIENTS.get(params.method, 1)
        return params.settings.iterations * self.images_per_step(params) * passes * one_pass

    def rate_group(self, params: TrainParams) -> str:
        """Compare trainings of one backbone on as many threads."""
        return " ".join(map(str, [params.settings.backbone, params.threads, *self.workload(params)]))

    def workload(self, params: TrainParams) -> Workload:
        """Name the backbone and how its passes are computed."""
        settings = params.settings
        network = backbone_name(settings.backbone)
        return Workload("train", network, params.image_size, settings.precision, settings.compile)

    def half_precision(self, params: TrainParams) -> bool:
        """Tell whether the network's passes are in half precision."""
        return params.settings.precision != "fp32"

    def processes(self, params: TrainParams) -> int:
        """Return how many processes share a batch."""
        return params.settings.processes

    def cpus(self, params: TrainParams) -> int:
        """Add the threads that prefetch batches, of every process."""
        return super().cpus(params) + params.settings.workers * params.settings.processes

    def gpu_gib(self, params: TrainParams) -> float:
        """Add up weights, gradients, one moment, and activations."""
        network = backbone(params.settings.backbone)
        images = self.images_per_step(params) / params.settings.processes
        activations = images * network.activations_at(params.image_size)
        half = 2 if self.half_precision(params) else 1
        return (12 * network.parameters + activations / half) / GIB

    def disk(self, params: TrainParams, inputs: Mapping[str, Job]) -> float:
        """Count the predictions, and the weights in fp32 where they are kept."""
        weights = 4 * backbone(params.settings.backbone).parameters if params.settings.keep_weights else 0
        return 5e5 + weights

    def reductions(self, params: TrainParams) -> list[Reduction]:
        """Lower the precision before the batch and the network."""
        return [
            Reduction("train.precision", params.settings.precision, "bf16"),
            Reduction("train.batch_size", params.settings.batch_size),
            Reduction("train.backbone", params.settings.backbone, "a smaller one"),
        ]
