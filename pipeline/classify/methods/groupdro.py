"""Distributionally robust optimisation over groups: the domain with the largest loss counts most."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.network import Network
from pipeline.classify.registry import method


@method("GroupDRO")
class GroupDRO(Method):
    """Group distributionally robust optimisation (Sagawa et al. 2020): the worst domain counts most.

    S. Sagawa, P. W. Koh, T. B. Hashimoto, P. Liang, "Distributionally Robust Neural Networks for Group
    Shifts: On the Importance of Regularization for Worst-Case Generalization", ICLR 2020; algorithm 1.

    The loss is the sum over domains d of p_d * L_d. L_d is the mean cross-entropy of the labelled logits
    [b / domains, classes] of d, and p_d = w_d q_d / sum of w q. w_d is the weight of d's images: 1, unless
    they are made and have another. All q_d are equal at first; in each step, before the loss, q_d is
    multiplied by exp(eta * L_d), and all are divided by their sum.

    Attributes:
        eta: The step size of q, above 0.
        q: float32 [domains], the importance of each domain.
    """

    eta: float = 0.01

    uses_target = False
    needs_domains = True

    q: Tensor

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameter."""
        self.require(self.eta > 0, "eta", "above 0")

    def begin(self, network: Network, domains: int) -> None:
        """Give all domains the same importance."""
        self.register_buffer("q", torch.full((domains,), 1 / domains))

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Update `q`, and return the term `task`."""
        assert step.domains is not None
        each = cross_entropy(step.labelled.logits, step.labels, reduction="none")
        losses = self._means(each, step.domains)
        # The softmax of logarithms, because exp(eta * loss) of a large loss would overflow.
        self.q.copy_((self.q.log() + self.eta * losses.detach()).softmax(dim=0))
        weighted = self.q if step.weights is None else self.q * self._means(step.weights, step.domains)
        return {"task": (weighted / weighted.sum()) @ losses}

    def _means(self, values: Tensor, domains: Tensor) -> Tensor:
        """The means of values [b] over each domain: [domains]."""
        return values.new_zeros(len(self.q)).scatter_reduce(0, domains, values, "mean", include_self=False)
