"""Smooth domain-adversarial training: CDAN and MCC, with a flat minimum of the task alone."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cross_entropy, softmax

from pipeline.classify.method import Method, Outputs, Step
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import reverse_gradient, warm_start
from pipeline.classify.methods.mcc import class_confusion
from pipeline.classify.registry import method


@method("SDAT")
class SDAT(Method):
    """Smooth domain-adversarial training (Rangwani et al. 2022): CDAN and MCC, sharpness-aware for the task.

    H. Rangwani, S. K. Aithal, M. Mishra, A. Jain, R. V. Babu, "A Closer Look at Smoothness in Domain
    Adversarial Training", ICML 2022.

    The task, which a sharpness-aware step ascends on, and the loss::

        ascent = cross_entropy(labelled logits [b, classes], labels [b])
                 + class_confusion(target logits [b, classes], temperature), as in MCC
        loss   = ascent + trade_off * conditional_adversarial_loss, as in CDAN

    The gradient of the loss is taken at w + rho * g / |g|, with w the network's weights and g the gradient of
    the ascent at w. The discriminator, of three layers, is not moved.

    Attributes:
        rho: The radius of sharpness-aware steps, above 0.
        temperature: The temperature of MCC's predictions, above 0.
        trade_off: The weight of the adversarial term, at least 0.
        hidden: The width of the discriminator.
        warm_up_steps: See `warm_start`.
        both_statistics: Whether the pass at the moved weights updates BatchNorm's statistics too, as in the
            authors' code.
        eps: The smoothing of the discriminator's labels: 0 here, and a hyper-parameter of ELS.
    """

    rho: float = 0.02
    temperature: float = 2.5
    trade_off: float = 1.0
    hidden: int = 1024
    warm_up_steps: int = 0
    both_statistics: bool = False

    uses_library = True
    eps = 0.0

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the discriminator."""
        self.require(self.rho > 0, "rho", "above 0")
        self.require(self.temperature > 0, "temperature", "above 0")
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.hidden > 0, "hidden", "above 0")
        self.require(self.warm_up_steps >= 0, "warm_up_steps", "at least 0")
        self.discriminator = tllib.domain_discriminator(features * classes, self.hidden)

    def ascent(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `confusion`."""
        return self._smoothed(step)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms of `ascent`, and `adversarial`."""
        adversarial = conditional_adversarial_loss(
            self.discriminator, *step.halves, warm_start(step, self.warm_up_steps), self.eps
        )
        return self._smoothed(step) | {"adversarial": self.trade_off * adversarial}

    def _smoothed(self, step: Step) -> dict[str, Tensor]:
        """The terms of both ascent and loss."""
        labelled, target = step.halves
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "confusion": class_confusion(target.logits, self.temperature),
        }


def conditional_adversarial_loss(
    discriminator: nn.Module, labelled: Outputs, target: Outputs, coefficient: float, eps: float
) -> Tensor:
    """Return CDAN's loss with smoothed labels of the domains: a scalar.

    The library's loss knows hard labels alone; a test compares the two at eps 0.

    Args:
        discriminator: [n, d * classes] to probabilities of the source [n, 1].
        labelled: Outputs of labelled images, whose label is 1 - eps.
        target: Outputs of target images, whose label is eps.
        coefficient: The strength of gradient reversal.
        eps: The smoothing, in [0, 0.5].
    """
    features = torch.cat([labelled.features, target.features])
    predictions = softmax(torch.cat([labelled.logits, target.logits]), dim=1).detach()
    products = (predictions[:, :, None] * features[:, None, :]).flatten(start_dim=1)
    guesses = discriminator(reverse_gradient(products, coefficient))
    domains = torch.full_like(guesses, eps)
    domains[: len(labelled.logits)] = 1 - eps
    return binary_cross_entropy(guesses, domains)
