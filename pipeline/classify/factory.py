"""Make the method of a training by its name, and give the network the layers that the method owns."""

from typing import Any

import torch
from torch import nn

from pipeline.classify import registry
from pipeline.classify.method import Method
from pipeline.classify.network import Network
from pipeline.config import MethodSpec


def make_method(
    name: str, hyperparameters: dict[str, Any], network: Network, seed: int, domains: int = 1
) -> Method:
    """Return the method `name` for `network`, which gets the bottleneck and the head that the method owns.

    Args:
        name: A name in the registry.
        hyperparameters: Values that differ from the defaults.
        network: The network that is going to be trained.
        seed: Decides the initial weights of the method's own modules and layers.
        domains: The number of domains among labelled images.

    Raises:
        UserError: There is no method of that name, or it does not accept these hyper-parameters.
    """
    registry.check_method(MethodSpec(name=name, hyperparameters=hyperparameters))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = registry.load(name)(network.feature_count, network.classes, **hyperparameters)
        give_layers(network, method)
        method.begin(network, domains)
    return method


def give_layers(network: Network, method: Method) -> None:
    """Replace the bottleneck, if `network` has one, and the head by those that `method` owns, if it does."""
    has_bottleneck = not isinstance(network.bottleneck, nn.Identity)
    if has_bottleneck and (own := method.make_bottleneck(network.width, network.feature_count)) is not None:
        network.bottleneck = own
    if (own := method.make_head(network.feature_count, network.classes)) is not None:
        network.head = own


def give_own_layers(network: Network, name: str, hyperparameters: dict[str, Any]) -> None:
    """Give `network` the layers of the method `name`, which is made only if it owns any."""
    kind = registry.load(name)
    owns = (kind.make_bottleneck, kind.make_head) != (Method.make_bottleneck, Method.make_head)
    if owns:
        give_layers(network, kind(network.feature_count, network.classes, **hyperparameters))
