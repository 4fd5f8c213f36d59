"""Job `zero_shot`: a classifier that is not trained, evaluated on one task."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import ZERO_SHOT, ZeroShotSettings
from pipeline.core.job import Job, JobKind, register
from pipeline.planning.kinds.classifier import ClassifierParams
from pipeline.planning.kinds.prepare import card_of
from pipeline.planning.network_sizes import GIB, backbone

TYPICAL = "vit_base_patch16_224"
"""The network whose size is taken for that of any CLIP."""


class ZeroShotParams(ClassifierParams):
    """One evaluation. It is the same for all seeds."""

    words: list[str] = Field(description="the words of every class in prompts")
    settings: ZeroShotSettings = Field(description="the model and the prompt")

    def identity(self) -> dict[str, str | int]:
        """Return the columns of its records that are known before it has run, but for the seed."""
        return super().identity() | {
            "method": ZERO_SHOT,
            "augmentation": "none",
            "backbone": self.settings.model,
        }


@register
class ZeroShot(JobKind[ZeroShotParams]):
    """Classifies the target's test images by the words of the classes."""

    name = "zero_shot"
    params = ZeroShotParams
    code_version = 1
    module = "pipeline.classify.evaluation.zero_shot"

    def images(self, params: ZeroShotParams, inputs: Mapping[str, Job]) -> int:
        """Count the target's test images."""
        return card_of(inputs).test_images(params.target)

    def work(self, params: ZeroShotParams, images: int) -> float:
        """Count the passes of all images. The classes are few."""
        network = backbone(TYPICAL)
        return images * network.pass_at(network.side)

    def rate_group(self, params: ZeroShotParams) -> str:
        """Compare evaluations of one model on as many threads."""
        return f"{params.settings.model} {params.threads}"

    def gpu_gib(self, params: ZeroShotParams) -> float:
        """Count the weights in fp32: those of the text encoder are as many again."""
        return 8 * backbone(TYPICAL).parameters / GIB

    def disk(self, params: ZeroShotParams, inputs: Mapping[str, Job]) -> float:
        """Count the predictions."""
        return 5e5
