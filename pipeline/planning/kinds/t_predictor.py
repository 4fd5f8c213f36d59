"""Job `t_predictor`: under dg, the network that predicts the time t of an image."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import Count, Strict, TDim, TPredictorSettings
from pipeline.core.job import Job, JobKind, Reduction, Workload, register
from pipeline.planning.kinds.prepare import card_of
from pipeline.planning.network_sizes import GIB, TRAINING_PASSES, backbone, backbone_name


class TPredictorParams(Strict):
    """A t-predictor for the source domains of one held-out domain."""

    domains: list[str] = Field(min_length=2, description="the source domains")
    t_dim: TDim = Field(description="dimensions of the time t")
    image_size: Count = Field(description="height and width of images, in pixels")
    settings: TPredictorSettings = Field(description="how it is trained")
    threads: Count = Field(description="CPU threads")


@register
class TPredictor(JobKind[TPredictorParams]):
    """Trains the t-predictor."""

    name = "t_predictor"
    params = TPredictorParams
    code_version = 1
    module = "pipeline.diffusion.t_predictor.train"

    def images(self, params: TPredictorParams, inputs: Mapping[str, Job]) -> int:
        """Count the images that it learns from."""
        return sum(map(card_of(inputs).train_images, params.domains))

    def work(self, params: TPredictorParams, images: int) -> float:
        """Count the passes over all images in every epoch."""
        one_pass = backbone(params.settings.backbone).pass_at(params.image_size)
        return params.settings.epochs * images * TRAINING_PASSES * one_pass

    def rate_group(self, params: TPredictorParams) -> str:
        """Compare trainings of one backbone on as many threads."""
        return f"{params.settings.backbone} {params.threads}"

    def workload(self, params: TPredictorParams) -> Workload:
        """Name the backbone, which is trained in full precision."""
        return Workload("train", backbone_name(params.settings.backbone), params.image_size)

    def gpu_gib(self, params: TPredictorParams) -> float:
        """Add up weights, gradients, the two moments of Adam, and activations."""
        network = backbone(params.settings.backbone)
        activations = params.settings.batch_size * network.activations_at(params.image_size)
        return (16 * network.parameters + activations) / GIB

    def disk(self, params: TPredictorParams, inputs: Mapping[str, Job]) -> float:
        """Count the weights in fp32."""
        return 4 * backbone(params.settings.backbone).parameters

    def reductions(self, params: TPredictorParams) -> list[Reduction]:
        """Lower the batch before the network."""
        return [
            Reduction("t_predictor.batch_size", params.settings.batch_size),
            Reduction("t_predictor.backbone", params.settings.backbone, "a smaller one"),
        ]
