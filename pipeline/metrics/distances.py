"""Perceptual distances between images, by name."""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import HUB, PIXELS
from pipeline.metrics.networks import (
    AT_A_TIME,
    DIGITS,
    LPIPS,
    as_tensor,
    backbone,
    normalised,
    weights_of,
)

Distances = Callable[[np.ndarray], np.ndarray]
"""Images uint8 [n, H, W, 3], one sequence -> the distances between neighbours, float64 [n - 1]."""

Layers = Callable[[Tensor], list[Tensor]]
"""Images, normalised -> maps [n, c, h, w] of several layers."""


def make_distances(name: str) -> Distances:
    """The distances of the network `name` (see networks.py), or `pixels`; UserError if its weights can't be had.

    alex, vgg and squeeze are LPIPS as it was published (Zhang et al., CVPR 2018). Any other network measures as
    LPIPS does without fitted weights: its maps, of unit length at every point, are compared (layer_distances).
    """
    if name == PIXELS:
        return pixel_distances
    if name in LPIPS:
        return _lpips(name)
    network = backbone(name)
    if name == DIGITS:
        return partial(
            layer_distances,
            prepare=partial(normalised, network=network),
            layers=partial(_after_relu, network),
        )
    maps = _timm_maps(name)
    return partial(layer_distances, prepare=partial(normalised, network=network), layers=maps)


def pixel_distances(images: np.ndarray) -> np.ndarray:
    """The root mean squares of the differences between neighbouring images, of 1."""
    apart = np.diff(images.astype(np.float64) / 255, axis=0)
    return np.sqrt((apart**2).mean(axis=(1, 2, 3)))


@torch.inference_mode()
def layer_distances(
    images: np.ndarray, prepare: Callable[[np.ndarray], Tensor], layers: Layers
) -> np.ndarray:
    """Sums over layers of the mean squared distance, over all points, of maps of unit length (LPIPS, equation 1, w = 1)."""
    found = []
    for start in range(0, len(images) - 1, AT_A_TIME):
        maps = layers(prepare(images[start : start + AT_A_TIME + 1]))
        units = [map_ / (map_.square().sum(1, keepdim=True).sqrt() + 1e-10) for map_ in maps]
        apart = [(unit[1:] - unit[:-1]).square().sum(1).mean((1, 2)) for unit in units]
        found.append(torch.stack(apart).sum(0).double().numpy())
    return np.concatenate(found) if found else np.zeros(0)


def _after_relu(network: nn.Sequential, x: Tensor) -> list[Tensor]:
    """The maps of digits_cnn after each of its four convolutions."""
    maps = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            maps.append(x.clone())
    return maps


def _timm_maps(name: str) -> Layers:
    """The maps of a model of timm, at each of its scales."""
    import timm

    architecture, _, file = name.partition("=")
    own = {"pretrained_cfg_overlay": {"file": file}} if file else {}
    with weights_of(name, f"get them from the {HUB}"):
        return timm.create_model(architecture, pretrained=True, features_only=True, **own).eval()


def _lpips(name: str) -> Distances:
    remedy = "get torchvision's on a machine with a network and copy its $TORCH_HOME (~/.cache/torch) here"
    with weights_of(name, remedy):
        from lpips import LPIPS as Lpips

        with warnings.catch_warnings():  # of torchvision, that lpips names weights as one did before 0.13
            warnings.simplefilter("ignore", UserWarning)
            return partial(lpips_distances, Lpips(net=name, verbose=False))


@torch.inference_mode()
def lpips_distances(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Those of `network`, of the package lpips, between neighbouring images."""
    x = as_tensor(images).float() / 127.5 - 1
    pairs = zip(x[:-1].split(AT_A_TIME), x[1:].split(AT_A_TIME), strict=True)
    found = [network(first, second).flatten(1)[:, 0].double() for first, second in pairs]
    return torch.cat(found).numpy() if len(images) > 1 else np.zeros(0)
