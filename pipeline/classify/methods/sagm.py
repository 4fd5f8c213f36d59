"""Sharpness-aware gradient matching: a low loss, a flat minimum, and one direction towards both."""

from torch import Tensor

from pipeline.classify.method import Method, Step, task_loss
from pipeline.classify.registry import method


@method("SAGM")
class SAGM(Method):
    """Sharpness-aware gradient matching (Wang et al. 2023): gradients here and at the worst point near agree.

    P. Wang, Z. Zhang, Z. Lei, L. Zhang, "Sharpness-Aware Gradient Matching for Domain Generalization", CVPR
    2023.

    `losses` and `ascent` are both L(w), the cross-entropy of the labelled logits [b, classes] for labels [b]
    at the network's weights w; made images count with their weight, if they have one. The step follows (g +
    h) / 2, with g the gradient of L at w, and h that at w + (rho / |g| - alpha) g. To first order, this is
    the gradient of L(w) + L(w + rho g / |g| - alpha g), halved, as in the authors' code: it is low where L is
    low and flat and the two gradients agree.

    Attributes:
        rho: The radius of sharpness-aware steps, above 0.
        alpha: The strength of gradient matching, above 0.
        independent_dropout: Whether the pass at the moved weights draws dropout of its own, as in the
            authors' code, or repeats that of the first.
    """

    rho: float = 0.05
    alpha: float = 0.001
    independent_dropout: bool = False

    uses_target = False

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters."""
        self.require(self.rho > 0, "rho", "above 0")
        self.require(self.alpha > 0, "alpha", "above 0")

    def ascent(self, step: Step) -> dict[str, Tensor]:
        """Return the term `task`."""
        return {"task": task_loss(step)}

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the term `task`."""
        return self.ascent(step)
