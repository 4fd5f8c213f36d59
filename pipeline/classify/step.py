"""What a method gets from the training loop: one step's images and outputs, or a look at all images."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.network import Network


@dataclass(frozen=True)
class Outputs:
    """What the network computes from n images.

    Attributes:
        features: float32 [n, d], the input of the head: after the bottleneck and dropout, if there are any.
        logits: float32 [n, classes].
    """

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Step:
    """What a method gets for one step of training.

    All outputs come from one forward pass, so that BatchNorm sees labelled and target images together, as in
    the transfer-learning library. They are float32 in every precision, and gradients flow through them into
    the network. The loop sets every attribute; a step that a test makes needs only those that the method
    reads.

    Attributes:
        labelled: Outputs for b labelled images: source images, and made images if the augmentation adds them.
            Under uda, b is train.batch_size; in a phase without labelled images it is 0.
        labels: int64 [b], the classes of the labelled images.
        target: Outputs for n unlabelled images of the target domain, n being train.batch_size. None if the
            method's `uses_target`, or that of the phase, is False. Their labels never reach training.
        progress: The share of the phase's steps that is done, in [0, 1). Schedules of a method depend on it
            or on `iteration`, so that a resumed training needs no memory of them.
        domains: int64 [b], the domain of each labelled image. Under dg the source domains are 0, 1, … with
            train.batch_size images each, and made images are one more domain. Under uda all are 0.
        weights: float32 [b], the weight of each labelled image in `task_loss`; None if all weigh 1.
        images: float32 [b, 3, H, W], the labelled images as the network got them: augmented and normalised.
        iteration: The number of the phase's steps that are done, from 0.
        update: The name of the update under way, of those of `Method.updates`.
        levels: The outputs of the levels of the backbone (see levels.py) for the labelled images, [b, …]
            each. Empty unless the method's `uses_levels` is True.
        domain_sizes: The number of labelled images of each domain, which come domain after domain: what
            `domains` says, without waiting for the device.
        target_images: float32 [n, 3, H, W], the target images as the network got them; None without.
        indices: int64 [b], which labelled image each one is: source images count from 0, domain after domain
            under dg, and made images follow. The same image has the same index in every step.
        target_indices: int64 [n], which of the target's training images each one is, from 0; None without.
        views: The views that `Method.views` asks for, by name: float32 [b or n, 3, H, W], normalised.
        network: The network in training. `Method.forward` is the way to pass images through it.
        phase: The name of the phase, of those of `Method.phases`.
    """

    labelled: Outputs
    labels: Tensor
    target: Outputs | None
    progress: float
    domains: Tensor | None = None
    weights: Tensor | None = None
    images: Tensor | None = None
    iteration: int = 0
    update: str = ""
    levels: tuple[Tensor, ...] = ()
    domain_sizes: tuple[int, ...] = ()
    target_images: Tensor | None = None
    indices: Tensor | None = None
    target_indices: Tensor | None = None
    views: Mapping[str, Tensor] = field(default_factory=dict)
    network: Network | None = None
    phase: str = ""

    @property
    def halves(self) -> tuple[Outputs, Outputs]:
        """`labelled` and `target`, for a method that uses the target."""
        if self.target is None:
            raise ValueError("the step has no target images: they are left out where uses_target is False")
        return self.labelled, self.target


@dataclass(frozen=True)
class Look:
    """What a method sees between two steps: all images of the phase, in the order of their indices.

    The images are not augmented. The network is in evaluation mode, and nothing has gradients.

    Attributes:
        phase: The name of the phase.
        number: How many looks the phase has had before, from 0.
        network: The network in training.
        target: Computes the Outputs for all training images of the target, [N, …] each.
        labelled: Computes the Outputs for all labelled images, [M, …] each, and their labels, int64 [M]. It
            raises UserError in a phase without labelled images.
    """

    phase: str
    number: int
    network: Network
    target: Callable[[], Outputs]
    labelled: Callable[[], tuple[Outputs, Tensor]]


def task_loss(step: Step) -> Tensor:
    """Return the mean cross-entropy of the labelled images, weighted by `step.weights`: a scalar."""
    if step.weights is None:
        return cross_entropy(step.labelled.logits, step.labels)
    each = cross_entropy(step.labelled.logits, step.labels, reduction="none")
    return (step.weights * each).sum() / step.weights.sum()


def total(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of one term or more."""
    return reduce(add, terms)
