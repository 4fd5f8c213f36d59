"""Sharpness-aware gradient matching: a low loss, a flat minimum, and one direction towards both."""

from torch import Tensor

from pipeline.classify.method import Method, Step, task_loss
from pipeline.classify.registry import method


@method("SAGM")
class SAGM(Method):
    """Sharpness-aware gradient matching (Wang et al. 2023): gradients here and at the worst place nearby agree.

    loss = ascent = cross-entropy of the labelled logits [b, classes] for labels [b], L(w); made images count
    with their weight, if they have one. The step follows (g + h) / 2, with g the gradient of L at the network's
    weights w, and h that at w + (rho / |g| - alpha) g: to first order that of L(w) + L(w + rho g / |g| - alpha g),
    which is low where L is low and flat and the two gradients agree (the halves are those of the authors' code).
    Defaults: rho 0.05, alpha 0.001 (both above 0).
    """

    rho: float = 0.05
    alpha: float = 0.001

    uses_target = False

    def build(self, features: int, classes: int) -> None:
        self.require(self.rho > 0, "rho", "above 0")
        self.require(self.alpha > 0, "alpha", "above 0")

    def ascent(self, step: Step) -> dict[str, Tensor]:
        return {"task": task_loss(step)}

    def losses(self, step: Step) -> dict[str, Tensor]:
        return self.ascent(step)
