"""The forward pass of a training step: from a batch of images to what the network computes from it."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from pipeline.classify.levels import level_names, recorded_levels
from pipeline.classify.method import Method, Outputs, Step
from pipeline.classify.network import Network, kept_statistics
from pipeline.classify.training.draws import Drawn
from pipeline.classify.training.segments import Segment
from pipeline.config import TrainSettings
from pipeline.core.compiling import compile_network
from pipeline.core.errors import UserError

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The half precisions, by their names in suites."""


def place(network: Network, settings: TrainSettings) -> torch.device:
    """Move `network` to the GPU, if there is one, and compile it if the settings say so. Return its device.

    Raises:
        UserError: The settings want fp16 and there is no GPU, or what compiling needs is not installed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if settings.precision == "fp16" and device.type == "cpu":
        raise UserError("train.precision: fp16 needs a GPU, and there is none here; use bf16 or fp32")
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    if settings.compile:
        compile_network(network, device, "train.compile")
    return device


@dataclass(frozen=True)
class Groups:
    """The domains of the b labelled images of every step, on the device.

    Attributes:
        domains: int64 [b], as in `Step`.
        sizes: The number of images of each domain, known without waiting for the device.
        weights: float32 [b], as in `Step`, or None.
    """

    domains: Tensor
    sizes: tuple[int, ...]
    weights: Tensor | None

    @classmethod
    def of(cls, groups: tuple[Tensor, Tensor | None], device: torch.device) -> Self:
        """Return what `LabelledBatches.groups` or `DomainBatches.groups` says, on `device`."""
        domains, weights = groups
        sizes = tuple(domains.bincount().tolist())
        return cls(domains.to(device), sizes, None if weights is None else weights.to(device))


class Passes:
    """Passes images through `network` in the precision of `settings` and in the order that `method` needs.

    Raises:
        UserError: The method uses levels of the backbone, and the backbone has none.
    """

    def __init__(self, network: Network, method: Method, settings: TrainSettings) -> None:
        self.network, self.separate = network, method.separate_passes
        self.half = HALF.get(settings.precision)
        self.levels = level_names(network.backbone) if method.uses_levels else []
        method._pass = self.again

    def step(
        self,
        images: Tensor,
        labels: Tensor,
        groups: Groups,
        drawn: Drawn,
        segment: Segment,
        done: int,
        update: str,
    ) -> Step:
        """Pass the images of a step through the network.

        Args:
            images: [b + n, 3, H, W], the labelled images and then the n target images.
            labels: int64 [b].
            groups: The domains of labelled images, of which a phase has all or none.
            drawn: Which images they are, and their views.
            segment: Where in the training the step is.
            done: The steps of the training that are done.
            update: The name of the update under way.
        """
        count, done = len(labels), done - segment.phase_start
        labelled, target, levels = self.halves(images, count)
        has_target = len(images) > count
        return Step(
            labelled=labelled,
            labels=labels,
            target=target if has_target else None,
            progress=done / (segment.phase_stop - segment.phase_start),
            domains=groups.domains[:count],
            weights=None if groups.weights is None else groups.weights[:count],
            images=images[:count],
            iteration=done,
            update=update,
            levels=levels,
            domain_sizes=groups.sizes if count else (),
            target_images=images[count:] if has_target else None,
            indices=drawn.indices,
            target_indices=drawn.target_indices,
            views=drawn.views,
            network=self.network,
            phase=segment.phase.name,
        )

    def halves(self, images: Tensor, count: int) -> tuple[Outputs, Outputs, tuple[Tensor, ...]]:
        """Compute the outputs of labelled and of target images, and the levels of the labelled ones.

        All are float32 in every precision, because losses may take logarithms of probabilities near 0.

        Args:
            images: [b + n, 3, H, W], the labelled images and then the n target images.
            count: b, the number of labelled images.
        """
        if self.separate and 0 < count < len(images):
            labelled, levels = self._through_network(images[:count])
            target, _ = self._through_network(images[count:])
            return labelled, target, levels
        both, levels = self._through_network(images)
        labelled = Outputs(both.features[:count], both.logits[:count])
        target = Outputs(both.features[count:], both.logits[count:])
        return labelled, target, tuple(level[:count] for level in levels)

    def again(self, images: Tensor, update_statistics: bool) -> Outputs:
        """Pass more images through the network, for a method (see `Method.forward`)."""
        with nullcontext() if update_statistics else kept_statistics(self.network):
            outputs, _ = self._through_network(images)
        return outputs

    def _through_network(self, images: Tensor) -> tuple[Outputs, tuple[Tensor, ...]]:
        """Features and logits of all images, and the recorded levels of the backbone."""
        with (
            nullcontext() if self.half is None else torch.autocast(images.device.type, self.half),
            recorded_levels(self.network.backbone, self.levels) as levels,
        ):
            computed = self.network(images)
        features, logits, *levels = (
            values if self.half is None else values.float() for values in (*computed, *levels)
        )
        return Outputs(features, logits), tuple(levels)
