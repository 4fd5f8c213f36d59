"""Features of images, in which whole sets are compared (FID, KID)."""

from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.metrics.networks import INCEPTION, as_tensor, backbone, in_batches, normalised, weights_of

Features = Callable[[np.ndarray], np.ndarray]
"""Images uint8 [n, H, W, 3] -> features float64 [n, d]."""

LAYER = "2048"
"""Of InceptionV3: the one before its classes."""


def make_features(name: str) -> Features:
    """The features of the network `name` (see networks.py); UserError if it, or its weights, can't be had.

    `inception` resizes what it is given to 299x299, as the published one does; no other resizes.
    """
    if name == INCEPTION:
        return _inception()
    network = backbone(name)
    return partial(in_batches, compute=lambda images: network(normalised(images, network)))


def _inception() -> Features:
    remedy = "get them on a machine with a network and copy its $TORCH_HOME (~/.cache/torch) here"
    with weights_of(INCEPTION, remedy):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        network = FeatureExtractorInceptionV3("inception-v3-compat", [LAYER])
    return partial(in_batches, compute=lambda images: network(as_tensor(images))[0])
