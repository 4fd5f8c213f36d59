"""Mutual information regularisation: features that still tell what those of the pretrained network were."""

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
"""Of every feature when training begins."""

LEAST_VARIANCE = 1e-5


@method("MIRO")
class MIRO(Method):
    """Mutual information regularisation with oracle (Cha et al. 2022): stay near the pretrained network's features.

    loss = cross-entropy of the labelled logits [b, classes] for labels [b]
         + ld * gaussian_surprise(o, mean f, variance v),
    with f [b, d] the features of the labelled images, o [b, d] those that the network gave before training (its
    frozen copy, BatchNorm in evaluation mode), and v [d] = softplus(s) + 1e-5 for a trained s, 0.1 at first: the
    mean encoder is the identity, the variance encoder one number for each channel. The paper does so with the
    output of every block of the backbone; this with the last, which every backbone has. Made images have their
    weight in the cross-entropy alone. Defaults: ld 0.1 (the paper takes 0.01 to 0.1). Says something of pretrained
    backbones alone, and takes no bottleneck, for that is new.
    """

    ld: float = 0.1

    uses_target = False

    def build(self, features: int, classes: int) -> None:
        self.require(self.ld >= 0, "ld", "at least 0")
        start = math.log(math.expm1(VARIANCE - LEAST_VARIANCE))  # what softplus makes VARIANCE of
        self.spread = nn.Parameter(torch.full((features,), start))

    def begin(self, network: Network, domains: int) -> None:
        if not isinstance(network.bottleneck, nn.Identity):
            raise UserError("method MIRO: train.bottleneck must be null, for no pretraining has seen it")
        self.oracle = copy.deepcopy(network.backbone).eval().requires_grad_(False)

    def losses(self, step: Step) -> dict[str, Tensor]:
        variance = softplus(self.spread) + LEAST_VARIANCE
        surprise = gaussian_surprise(self.oracle(step.images), step.labelled.features, variance)
        return {"task": task_loss(step), "oracle": self.ld * surprise}


def gaussian_surprise(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The mean of ((values - mean)^2 / variance + log variance) / 2: a scalar.

    values, mean: [n, d]; variance: [d], above 0. It is -log of the normal density, without its constant.
    """
    return ((values - mean).square() / variance + variance.log()).mean() / 2
