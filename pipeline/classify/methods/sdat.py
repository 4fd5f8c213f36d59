"""Smooth domain-adversarial training: CDAN and MCC, with a flat minimum of the task alone."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cross_entropy, softmax

from pipeline.classify.method import Method, Outputs, Step
from pipeline.classify.methods.adversarial import reverse_gradient, warm_start
from pipeline.classify.methods.mcc import class_confusion
from pipeline.classify.methods.tllib import find_module
from pipeline.classify.registry import method


@method("SDAT")
class SDAT(Method):
    """Smooth domain-adversarial training (Rangwani et al. 2022): CDAN and MCC, sharpness-aware for the task.

    ascent = cross_entropy(labelled logits [b, classes], labels [b])
           + class_confusion(target logits [b, classes], temperature), as in MCC;
    loss = ascent + trade_off * CDAN's adversarial loss, whose gradient is taken at w + rho * g / ||g||, with
    w the network's weights and g the gradient of the ascent there. The discriminator, of three layers and
    `hidden` wide, is not perturbed.
    Defaults: rho 0.02 (above 0), temperature 2.5 (above 0), trade_off 1, hidden 1024.
    """

    rho: float = 0.02
    temperature: float = 2.5
    trade_off: float = 1.0
    hidden: int = 1024

    uses_library = True
    eps = 0.0

    def build(self, features: int, classes: int) -> None:
        self.require(self.rho > 0, "rho", "above 0")
        self.require(self.temperature > 0, "temperature", "above 0")
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.hidden > 0, "hidden", "above 0")
        discriminator = find_module("domain_discriminator", "DomainDiscriminator")
        self.discriminator = discriminator(features * classes, self.hidden)

    def ascent(self, step: Step) -> dict[str, Tensor]:
        return {
            "task": cross_entropy(step.labelled.logits, step.labels),
            "confusion": class_confusion(step.target.logits, self.temperature),
        }

    def losses(self, step: Step) -> dict[str, Tensor]:
        adversarial = conditional_adversarial_loss(
            self.discriminator, step.labelled, step.target, warm_start(step.progress), self.eps
        )
        return self.ascent(step) | {"adversarial": self.trade_off * adversarial}


def conditional_adversarial_loss(
    discriminator: nn.Module, labelled: Outputs, target: Outputs, coefficient: float, eps: float
) -> Tensor:
    """CDAN's loss with smoothed labels of the domains: 1 - eps for labelled images, eps for target ones.

    discriminator: [n, d * classes] to probabilities [n, 1]; coefficient: of the reversal of its gradient.
    The library's loss, which this is for eps 0, knows hard labels alone.
    """
    features = torch.cat([labelled.features, target.features])
    predictions = softmax(torch.cat([labelled.logits, target.logits]), dim=1).detach()
    products = (predictions[:, :, None] * features[:, None, :]).flatten(start_dim=1)
    guesses = discriminator(reverse_gradient(products, coefficient))
    domains = torch.full_like(guesses, eps)
    domains[: len(labelled.logits)] = 1 - eps
    return binary_cross_entropy(guesses, domains)
