"""Features of images, in which whole sets are compared (FID, KID)."""

from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.metrics.networks import (
    INCEPTION,
    as_tensor,
    in_batches,
    loading_weights,
    make_network,
    normalised,
)

Features = Callable[[np.ndarray], np.ndarray]
"""A function of images, uint8 [n, H, W, 3], that returns their features, float64 [n, d]."""

INCEPTION_LAYER = "2048"
"""The layer of InceptionV3 before its classes, by its width."""


def make_features(name: str) -> Features:
    """Make the features of the network `name` (see networks.py).

    `inception` resizes its input to 299x299, as the published network does; no other network resizes.

    Raises:
        UserError: The network does not exist, or its weights cannot be loaded.
    """
    if name == INCEPTION:
        return _inception()
    network = make_network(name, (INCEPTION,))
    return partial(in_batches, compute=lambda images: network(normalised(images, network)))


def _inception() -> Features:
    remedy = "get them on a machine with a network and copy its $TORCH_HOME (~/.cache/torch) here"
    with loading_weights(INCEPTION, remedy):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        network = FeatureExtractorInceptionV3("inception-v3-compat", [INCEPTION_LAYER])
    return partial(in_batches, compute=lambda images: network(as_tensor(images))[0])
