"""Distributionally robust optimisation over groups: the domain with the largest loss counts most."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.network import Network
from pipeline.classify.registry import method


@method("GroupDRO")
class GroupDRO(Method):
    """Group distributionally robust optimisation (Sagawa et al. 2020, algorithm 1): mind the worst domain most.

    loss = sum over domains d of p_d * L_d, with L_d the mean cross-entropy of the labelled logits
    [b / domains, classes] of d, and p_d = w_d q_d / sum of w q, w_d being the weight of d's images (1 unless
    they are made and have another). Before each step q_d becomes q_d * exp(eta * L_d), over their sum; all are
    equal at first. Defaults: eta 0.01 (above 0).
    """

    eta: float = 0.01

    uses_target = False
    needs_domains = True

    def build(self, features: int, classes: int) -> None:
        self.require(self.eta > 0, "eta", "above 0")

    def begin(self, network: Network, domains: int) -> None:
        self.register_buffer("q", torch.full((domains,), 1 / domains))

    def losses(self, step: Step) -> dict[str, Tensor]:
        each = cross_entropy(step.labelled.logits, step.labels, reduction="none")
        losses = self._means(each, step.domains)
        # As shares of logarithms, for exp(eta * loss) of a large loss would overflow.
        self.q.copy_((self.q.log() + self.eta * losses.detach()).softmax(dim=0))
        weighted = self.q if step.weights is None else self.q * self._means(step.weights, step.domains)
        return {"task": (weighted / weighted.sum()) @ losses}

    def _means(self, values: Tensor, domains: Tensor) -> Tensor:
        """The means of values [b] over each domain: [domains]."""
        return values.new_zeros(len(self.q)).scatter_reduce(0, domains, values, "mean", include_self=False)
