"""Perceptual distances between neighbouring images, by name."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import HUB, PIXELS
from pipeline.core.tensor_files import refuse_non_finite
from pipeline.metrics.networks import (
    BATCH_SIZE,
    DIGITS,
    LPIPS,
    as_tensor,
    loading_weights,
    make_network,
    normalised,
)

Distances = Callable[[np.ndarray], np.ndarray]
"""A function of a sequence, uint8 [n, H, W, 3], that returns distances of neighbours, float64 [n - 1]."""

FeatureMaps = Callable[[Tensor], list[Tensor]]
"""A function of normalised images that returns the feature maps [n, c, h, w] of several layers."""


def make_distances(name: str) -> Distances:
    """Make the distances of the network `name` (see networks.py), or of `pixels`.

    alex, vgg and squeeze are LPIPS as published (Zhang et al., CVPR 2018). Any other network measures as
    LPIPS does without fitted weights: it compares its feature maps, normalised to unit length at every point
    (`layer_distances`).

    Raises:
        UserError: The network does not exist, or its weights cannot be loaded.
    """
    if name == PIXELS:
        return pixel_distances
    if name in LPIPS:
        return _lpips(name)
    network = make_network(name, (PIXELS, *LPIPS))
    maps: FeatureMaps = partial(_maps_after_relu, network) if name == DIGITS else _timm_maps(name)
    return partial(layer_distances, prepare=partial(normalised, network=network), maps=maps)


def pixel_distances(images: np.ndarray) -> np.ndarray:
    """Compute the root mean square difference of neighbouring images, whose pixels are scaled to [0, 1]."""
    differences = np.diff(images.astype(np.float64) / 255, axis=0)
    return np.sqrt((differences**2).mean(axis=(1, 2, 3)))


@torch.inference_mode()
def layer_distances(
    images: np.ndarray, prepare: Callable[[np.ndarray], Tensor], maps: FeatureMaps
) -> np.ndarray:
    """Sum the mean squared distances between unit-length feature maps over layers (LPIPS, equation 1, w = 1).

    Args:
        images: One sequence, uint8 [n, H, W, 3].
        prepare: Normalises images for the network.
        maps: Computes the feature maps.

    Returns:
        float64 [n - 1].
    """
    found = []
    for start in range(0, len(images) - 1, BATCH_SIZE):
        layers = maps(prepare(images[start : start + BATCH_SIZE + 1]))
        units = [layer / (layer.square().sum(1, keepdim=True).sqrt() + 1e-10) for layer in layers]
        per_layer = [(unit[1:] - unit[:-1]).square().sum(1).mean((1, 2)) for unit in units]
        found.append(torch.stack(per_layer).sum(0).double().numpy())
    return np.concatenate(found) if found else np.zeros(0)


def _maps_after_relu(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Compute the maps of digits_cnn after each of its four convolutions."""
    maps = []
    for layer in network.children():
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            maps.append(x.clone())
    return maps


def _timm_maps(name: str) -> FeatureMaps:
    """Compute the maps of a model of timm at each of its scales."""
    import timm

    architecture, _, file = name.partition("=")
    overlay: dict[str, Any] = {"pretrained_cfg_overlay": {"file": file}} if file else {}
    with loading_weights(name, f"get them from the {HUB}"):
        network = timm.create_model(architecture, pretrained=True, features_only=True, **overlay).eval()
    refuse_non_finite(f"network {name}", network.state_dict())
    return network


def _lpips(name: str) -> Distances:
    remedy = "get torchvision's on a machine with a network and copy its $TORCH_HOME (~/.cache/torch) here"
    with loading_weights(name, remedy):
        from lpips import LPIPS as Lpips

        with warnings.catch_warnings():  # lpips names weights as torchvision did before 0.13
            warnings.simplefilter("ignore", UserWarning)
            return partial(lpips_distances, Lpips(net=name, verbose=False))


@torch.inference_mode()
def lpips_distances(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Compute the distances of a network of the package lpips between neighbours, float64 [n - 1]."""
    x = as_tensor(images).float() / 127.5 - 1
    pairs = zip(x[:-1].split(BATCH_SIZE), x[1:].split(BATCH_SIZE), strict=True)
    found = [network(first, second).flatten(1)[:, 0].double() for first, second in pairs]
    return torch.cat(found).numpy() if len(images) > 1 else np.zeros(0)
