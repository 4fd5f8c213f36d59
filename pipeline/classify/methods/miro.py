"""Mutual information regularisation: features that keep the information of the pretrained network's."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pipeline.classify.method import Method, Step, task_loss
from pipeline.classify.network import Network
from pipeline.classify.registry import method
from pipeline.core.errors import UserError

VARIANCE = 0.1
"""The variance of every feature at the start of training."""

LEAST_VARIANCE = 1e-5


@method("MIRO")
class MIRO(Method):
    """Mutual information regularisation with oracle (Cha et al. 2022): stay near the pretrained features.

    J. Cha, K. Lee, S. Park, S. Chun, "Domain Generalization by Mutual-Information Regularization with
    Pre-trained Models", ECCV 2022.

    The loss, for features f [b, d] of the labelled images::

        task_loss(labelled logits [b, classes], labels [b]) + ld * gaussian_surprise(o, mean f, variance v)

    o [b, d] are the features of the same images by the oracle: a frozen copy of the network before training,
    with BatchNorm in evaluation mode. v [d] = softplus(s) + 1e-5 for a trained s: the mean encoder is the
    identity, and the variance encoder is one number for each channel. The paper regularises the output of
    every block of the backbone; this does so with the last, which every backbone has. The weight of made
    images concerns the first term alone. Makes sense with pretrained backbones only, and refuses a
    bottleneck, because that is never pretrained.

    Attributes:
        ld: The weight of the regulariser, at least 0. The paper takes 0.01 to 0.1.
    """

    ld: float = 0.1

    uses_target = False

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameter, and make the variances."""
        self.require(self.ld >= 0, "ld", "at least 0")
        start = math.log(
            math.expm1(VARIANCE - LEAST_VARIANCE)
        )  # softplus(start) + LEAST_VARIANCE is VARIANCE
        self.spread = nn.Parameter(torch.full((features,), start))

    def begin(self, network: Network, domains: int) -> None:
        """Keep a copy of the network's backbone; UserError if the network has a bottleneck."""
        if not isinstance(network.bottleneck, nn.Identity):
            raise UserError("method MIRO: train.bottleneck must be null, because it is never pretrained")
        self.oracle = copy.deepcopy(network.backbone).eval().requires_grad_(False)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `oracle`."""
        variance = softplus(self.spread) + LEAST_VARIANCE
        surprise = gaussian_surprise(self.oracle(step.images), step.labelled.features, variance)
        return {"task": task_loss(step), "oracle": self.ld * surprise}


def gaussian_surprise(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return the mean of ((values - mean)^2 / variance + log variance) / 2: a scalar.

    This is -log of the normal density, without its constant.

    Args:
        values: [n, d].
        mean: [n, d].
        variance: [d], above 0.
    """
    return ((values - mean).square() / variance + variance.log()).mean() / 2
