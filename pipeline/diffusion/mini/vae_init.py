"""Initial weights that make the autoencoder linear: 2x2 means of the colours, and bilinear upsampling.

From random weights an AutoencoderKL of this size spends most of its training on undoing its own
normalisation, which removes the overall brightness of an image. Here two reference channels of +REFERENCE and
-REFERENCE dominate the statistics of the last GroupNorm, which thereby becomes a multiplication by a
constant. Every signal x has a companion -x, so that it passes the last activation unchanged: silu(x) -
silu(-x) = x. The other weights stay random and small.
"""

from typing import Any

import torch
from torch import Tensor, nn

REFERENCE = 10.0
COLOURS = 3
LATENTS = 4
DIAGONAL = torch.tensor([[0.5, -0.5], [-0.5, 0.5]])
"""Kernel of the fourth latent: the diagonal detail of a 2x2 block of brightness."""


def _clear(weight: Tensor, channels: int) -> None:
    """Set the weights of the first output `channels` to zero."""
    weight[:channels] = 0


def _pairs(shortcut: nn.Conv2d, taken: list[int], references: tuple[int, int]) -> None:
    """Copy the channels `taken` to channels 0.., their negatives behind them, and then the two references."""
    count = len(taken)
    _clear(shortcut.weight, 2 * count + 2)
    shortcut.weight[2 * count + 2 :] *= 0.3
    for place, channel in enumerate(taken):
        shortcut.weight[place, channel] = 1
        shortcut.weight[place + count, channel] = -1
    for place, channel in enumerate(references):
        shortcut.weight[2 * count + place, channel] = 1


def _read_pairs(norm: nn.GroupNorm, last: nn.Conv2d, outputs: int, count: int) -> None:
    """Recover the signals that `_pairs` wrote, after the last normalisation and activation."""
    norm.weight.fill_(REFERENCE * (2 / norm.num_channels) ** 0.5)
    last.weight *= 0.1
    last.weight[:outputs, : 2 * count + 2] = 0
    for channel in range(outputs):
        last.weight[channel, channel, 1, 1] = 1
        last.weight[channel, channel + count, 1, 1] = -1


@torch.no_grad()
def start_linear(vae: Any) -> None:
    """Set the weights of an AutoencoderKL with two levels and one GroupNorm group, in place."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.zero_()
        if type(module).__name__ == "ResnetBlock2D":
            module.conv2.weight *= 0.3
    _start_encoder(vae.encoder)
    _start_decoder(vae.decoder)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.zero_()
        conv.weight[range(LATENTS), range(LATENTS)] = 1
    # Little noise on the latents at first. With a standard deviation of one, hundreds of steps would pass
    # before the decoder gets any signal.
    vae.quant_conv.bias[LATENTS:] = -6.0


def _start_encoder(encoder: Any) -> None:
    first, down = encoder.conv_in, encoder.down_blocks[0].downsamplers[0].conv
    _clear(first.weight, COLOURS + 2)
    for channel in range(COLOURS):
        first.weight[channel, channel, 1, 1] = 1
    first.bias[COLOURS], first.bias[COLOURS + 1] = REFERENCE, -REFERENCE
    _clear(down.weight, COLOURS + 3)
    for channel in range(COLOURS):
        down.weight[channel, channel, :2, :2] = 0.25
    for channel in (COLOURS, COLOURS + 1):
        down.weight[channel, channel, 0, 0] = 1
    down.weight[COLOURS + 2, :COLOURS, :2, :2] = DIAGONAL / COLOURS
    _pairs(encoder.down_blocks[1].resnets[0].conv_shortcut, [0, 1, 2, COLOURS + 2], (COLOURS, COLOURS + 1))
    _read_pairs(encoder.conv_norm_out, encoder.conv_out, LATENTS, LATENTS)


def _start_decoder(decoder: Any) -> None:
    first, up = decoder.conv_in, decoder.up_blocks[0].upsamplers[0].conv
    _clear(first.weight, LATENTS + 2)
    for channel in range(LATENTS):
        first.weight[channel, channel, 1, 1] = 1
    first.bias[LATENTS], first.bias[LATENTS + 1] = REFERENCE, -REFERENCE
    _clear(up.weight, LATENTS + 2)
    bilinear = torch.tensor([0.25, 0.5, 0.25])
    for channel in range(COLOURS):
        up.weight[channel, channel] = bilinear[:, None] * bilinear
    for channel in range(COLOURS, LATENTS + 2):
        up.weight[channel, channel, 1, 1] = 1
    shortcut = decoder.up_blocks[1].resnets[0].conv_shortcut
    _pairs(shortcut, list(range(LATENTS)), (LATENTS, LATENTS + 1))
    _read_pairs(decoder.conv_norm_out, decoder.conv_out, COLOURS, LATENTS)
