"""Make the method of a training by its name."""

from typing import Any

import torch

from pipeline.classify import registry
from pipeline.classify.method import Method
from pipeline.classify.network import Network
from pipeline.config import MethodSpec


def make_method(
    name: str, hyperparameters: dict[str, Any], network: Network, seed: int, domains: int = 1
) -> Method:
    """Return the method `name` for `network`.

    Args:
        name: A name in the registry.
        hyperparameters: Values that differ from the defaults.
        network: The network that is going to be trained.
        seed: Decides the initial weights of the method's own modules.
        domains: The number of domains among labelled images.

    Raises:
        UserError: There is no method of that name, or it does not accept these hyper-parameters.
    """
    registry.check_method(MethodSpec(name=name, hyperparameters=hyperparameters))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = registry.load(name)(network.feature_count, network.head.out_features, **hyperparameters)
        method.begin(network, domains)
    return method
