"""The exponential moving average of a network: the teacher of mean-teacher methods.

A. Tarvainen, H. Valpola, "Mean teachers are better role models", NeurIPS 2017.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.classify.network import Network
from pipeline.classify.step import Outputs


class EMA(nn.Module):
    """A teacher whose weights are the moving average of a network's weights.

    Make it in `Method.begin`, call `update` in `Method.after_step`, and return `network` from
    `Method.evaluated` if the teacher is what the training is for. Checkpoints keep it, and no optimiser moves
    it.

    At its u-th update, from 1, a weight w of the teacher becomes m w + (1 - m) w', where w' is the network's
    and m the smaller of `momentum` and 1 - 1 / (u + 1). So it is the plain mean at first. Buffers, such as
    BatchNorm's statistics, are copied at every update.

    Args:
        network: The network at the start, which counts in the mean.
        momentum: The largest m, in [0, 1).
        batch_statistics: Whether BatchNorm layers of the teacher normalise by the batch, and not by their
            running statistics.

    Attributes:
        network: The teacher.
    """

    def __init__(self, network: Network, momentum: float, batch_statistics: bool = False) -> None:
        super().__init__()
        self.network, self.momentum = copy.deepcopy(network).requires_grad_(False), momentum
        self.batch_statistics = batch_statistics
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move the teacher towards `network`."""
        self.updates += 1
        share = (1 / (self.updates + 1)).clamp_min(1 - self.momentum)
        for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(its, share)
        for kept, new in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(new)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Outputs:
        """Return the teacher's outputs for `images` [n, 3, H, W]: without dropout and without gradients."""
        self.network.eval()
        for layer in self.network.modules():
            if isinstance(layer, _BatchNorm):
                layer.train(self.batch_statistics)
        features, logits = self.network(images)
        return Outputs(features, logits)
