"""What source-free methods share: a phase on the source, a phase on the target, and SHOT's layers."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import weight_norm

from pipeline.classify.method import Method, Phase, Step

LABEL_SMOOTHING = 0.1
"""Of the labels in the phase on the source, as in SHOT's code."""

EPSILON = 1e-5
"""What SHOT's code adds to probabilities before it takes their logarithm."""


class SourceFree(Method):
    """A method that first trains on the source alone, and then on the target alone.

    From the second phase on, no source image is read for training.

    Attributes:
        source_share: The share of the steps that the phase on the source takes, between 0 and 1.
    """

    source_share: float = 0.5

    looks = 1

    def build(self, features: int, classes: int) -> None:
        """Check the share."""
        self.require(0 < self.source_share < 1, "source_share", "between 0 and 1")

    def make_bottleneck(self, width: int, features: int) -> nn.Module:
        """Return a linear layer and BatchNorm, without ReLU."""
        linear = nn.Linear(width, features)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(linear, nn.BatchNorm1d(features))

    def make_head(self, features: int, classes: int) -> nn.Module:
        """Return a linear layer with weight normalisation."""
        linear = nn.Linear(features, classes)
        nn.init.zeros_(linear.bias)
        return weight_norm(linear)

    def phases(self) -> list[Phase]:
        """Return the phases `source` and `target`."""
        return [
            Phase("source", self.source_share, uses_target=False),
            Phase(
                "target", 1 - self.source_share, uses_labelled=False, frozen=self.frozen(), looks=self.looks
            ),
        ]

    def frozen(self) -> tuple[str, ...]:
        """Return the groups of parameters that the phase on the target keeps as they are: by default none."""
        return ()

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the term `task` in the first phase, and the terms of `target_losses` in the second."""
        if step.phase == "target":
            return self.target_losses(step)
        task = cross_entropy(step.labelled.logits, step.labels, label_smoothing=LABEL_SMOOTHING)
        return {"task": task}

    def target_losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms of the loss in the phase on the target."""
        raise NotImplementedError


def imbalance(probabilities: Tensor) -> Tensor:
    """Return the negative entropy of the mean of probabilities [n, classes]: a scalar, lowest if balanced."""
    mean = probabilities.mean(dim=0)
    return (mean * (mean + EPSILON).log()).sum()
