"""Mutual information regularisation: features that keep the information of the pretrained network's."""

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pipeline.classify.levels import level_names, recorded_levels
from pipeline.classify.method import Method, ParameterGroup, Step, task_loss, total
from pipeline.classify.network import Network
from pipeline.classify.registry import method

VARIANCE = 0.1
"""The variance of every channel at the start of training."""

LEAST_VARIANCE = 1e-5

PROBE = 224
"""The height and width of the image that tells the shapes of the levels, of a backbone that takes any."""


@method("MIRO")
class MIRO(Method):
    """Mutual information regularisation with oracle (Cha et al. 2022): stay near the pretrained features.

    J. Cha, K. Lee, S. Park, S. Chun, "Domain Generalization by Mutual-Information Regularization with
    Pre-trained Models", ECCV 2022.

    The loss, for the levels f_l [b, c_l, …] of the backbone: its stem and its stages, neither pooled nor
    dropped out (see levels.py)::

        task_loss(labelled logits [b, classes], labels [b])
        + ld * sum over l of gaussian_surprise(o_l, mean f_l, variance v_l)

    o_l are the levels of the same images by the oracle: a frozen copy of the backbone before training, with
    BatchNorm in evaluation mode. v_l [c_l] = softplus(s_l) + 1e-5 for a trained s_l: the mean encoder is the
    identity, and the variance encoder is one number for each channel. The weight of made images concerns the
    first term alone. Makes sense with pretrained backbones only.

    Attributes:
        ld: The weight of the regulariser, at least 0. The paper takes 0.01 to 0.1.
        lr_factor: The learning rate of the variance encoders as a multiple of `train.learning_rate`, above 0.
    """

    ld: float = 0.1
    lr_factor: float = 10.0

    uses_target = False
    uses_levels = True
    version = 2

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters."""
        self.require(self.ld >= 0, "ld", "at least 0")
        self.require(self.lr_factor > 0, "lr_factor", "above 0")

    def begin(self, network: Network, domains: int) -> None:
        """Keep a copy of the network's backbone, and make the variances of its levels."""
        self.oracle = copy.deepcopy(network.backbone).eval().requires_grad_(False)
        self.names = level_names(self.oracle)
        size = network.image_size or PROBE
        weight = next(self.oracle.parameters())
        levels = self._oracle_levels(weight.new_zeros(1, 3, size, size))
        # softplus(start) + LEAST_VARIANCE is VARIANCE
        start = math.log(math.expm1(VARIANCE - LEAST_VARIANCE))
        self.spreads = nn.ParameterList(
            torch.full(shape_of_channels(level), start, dtype=weight.dtype) for level in levels
        )

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """Return the groups of the network, and the variances with their own learning rate."""
        *of_network, own = super().parameter_groups(network)
        return [*of_network, replace(own, parameters=list(self.spreads), lr_factor=self.lr_factor)]

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `oracle`."""
        assert step.images is not None
        surprise = total(
            gaussian_surprise(values, mean, softplus(spread) + LEAST_VARIANCE)
            for values, mean, spread in zip(
                self._oracle_levels(step.images), step.levels, self.spreads, strict=True
            )
        )
        return {"task": task_loss(step), "oracle": self.ld * surprise}

    @torch.no_grad()
    def _oracle_levels(self, images: Tensor) -> list[Tensor]:
        """The levels of images [n, 3, H, W] by the oracle."""
        with recorded_levels(self.oracle, self.names) as levels:
            self.oracle(images)
        return levels


def shape_of_channels(level: Tensor) -> tuple[int, ...]:
    """Return the shape of one number for each channel, to broadcast with a level of a backbone.

    Channels are the second dimension of maps [n, c, h, w] and features [n, c], and the last of a
    transformer's tokens [n, tokens, c].
    """
    channel = level.dim() - 1 if level.dim() == 3 else 1
    return tuple(size if dimension == channel else 1 for dimension, size in enumerate(level.shape))


def gaussian_surprise(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return the mean of ((values - mean)^2 / variance + log variance) / 2: a scalar.

    This is -log of the normal density, without its constant.

    Args:
        values: [n, c, …].
        mean: [n, c, …].
        variance: Above 0, of a shape that broadcasts with `values`.
    """
    return ((values - mean).square() / variance + variance.log()).mean() / 2
