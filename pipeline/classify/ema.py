"""The exponential moving average of a network: the teacher of mean-teacher methods.

A. Tarvainen, H. Valpola, "Mean teachers are better role models", NeurIPS 2017.
"""

import copy

import torch
from torch import Tensor, nn

from pipeline.classify.network import Network
from pipeline.classify.step import Outputs


class EMA(nn.Module):
    """A teacher whose weights are the moving average of a network's weights.

    Make it in `Method.begin`, call `update` in `Method.after_step`, and return `network` from
    `Method.evaluated` if the teacher is what the training is for. Checkpoints keep it, and no optimiser moves
    it.

    After its u-th update, from 1, a weight w of the teacher is m w + (1 - m) w', where w' is the network's
    and m the smaller of `momentum` and 1 - 1/u. So the first update copies the network. Buffers, such as
    BatchNorm's statistics, are copied at every update.

    Args:
        network: The network at the start.
        momentum: The largest m, in [0, 1).

    Attributes:
        network: The teacher.
    """

    def __init__(self, network: Network, momentum: float) -> None:
        super().__init__()
        self.network, self.momentum = copy.deepcopy(network).requires_grad_(False), momentum
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move the teacher towards `network`."""
        self.updates += 1
        share = (1 / self.updates).clamp_min(1 - self.momentum)
        for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(its, share)
        for kept, new in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(new)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Outputs:
        """Return the teacher's outputs for `images` [n, 3, H, W]: in evaluation mode, without gradients."""
        self.network.eval()
        features, logits = self.network(images)
        return Outputs(features, logits)
