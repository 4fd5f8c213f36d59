"""SWAD: the average of iterates while the loss on held-out images stays in its valley.

See `valley` for the rule that chooses the iterates, and its source.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.classify.training.valley import choose
from pipeline.config import Swad


class Mean:
    """The running mean of lists of tensors, which are added one after another.

    Attributes:
        values: The mean; empty before the first addition.
        count: The number of lists in the mean.
    """

    def __init__(self, values: list[Tensor] | None = None, count: int = 0) -> None:
        self.values, self.count = values or [], count

    @torch.no_grad()
    def add(self, values: Iterable[Tensor], count: int = 1) -> None:
        """Add `values`, which are the mean of `count` lists themselves."""
        self.count += count
        if not self.values:
            self.values = [value.detach().clone() for value in values]
            return
        for mean, value in zip(self.values, values, strict=True):
            mean.lerp_(value.detach(), count / self.count)


class Averaging:
    """The average of the weights of `network` over the segments in the valley of its held-out loss.

    By the rule of the paper every iterate has the same weight, and a network whose loss never converged keeps
    the weights of its last iterate. By that of the authors' code every segment has the same weight, however
    many iterates it has, and a network whose loss never converged gets the mean of its last segment. Segments
    that may or may not be averaged are kept apart: at most n_converge or n_tolerance of them and one more at
    a time, each as large as the network.

    Attributes:
        losses: The held-out loss of each evaluation.
        steps: The number of steps before each evaluation.
        open: The mean of the iterates since the last evaluation.
        segments: The means of segments that are kept apart, by the index of their evaluation.
        average: The mean of what is known to be averaged.
    """

    def __init__(self, network: nn.Module, rule: Swad) -> None:
        self.network, self.rule = network, rule
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.open = Mean()
        self.segments: dict[int, Mean] = {}
        self.average = Mean()

    @property
    def ended(self) -> bool:
        """Whether the valley has ended, so that no later iterate can be in it."""
        return choose(self.losses, self.rule).ended if self.losses else False

    def add(self) -> None:
        """Add the network's weights as one more iterate."""
        self.open.add(self.network.parameters())

    def close_segment(self, step: int, loss: float) -> None:
        """Close the open segment by an evaluation: the held-out loss is `loss` after `step` steps."""
        settled = len(choose(self.losses, self.rule).added) if self.losses else 0
        self.segments[len(self.losses)], self.open = self.open, Mean()
        self.losses.append(loss)
        self.steps.append(step)
        choice = choose(self.losses, self.rule)
        self._add_segments(choice.added[settled:])
        self.segments = {index: mean for index, mean in self.segments.items() if index in choice.kept}

    def _add_segments(self, indices: Iterable[int]) -> None:
        """Add segments to the average."""
        for index in indices:
            segment = self.segments[index]
            self.average.add(segment.values, 1 if self.rule.valley == "authors" else segment.count)

    @torch.no_grad()
    def finish(self) -> dict[str, Any]:
        """Give the network the averaged weights, if there is an average.

        Returns:
            The content of averaging.json: `converged`, whether the loss has converged; `first` and `last`,
            the first and the last step in the average, from 1; `iterates`, their number, where those of a
            segment that is in the average twice count twice.
        """
        choice = choose(self.losses, self.rule)
        if choice.final is None:
            return {"converged": False, "first": self.steps[-1], "last": self.steps[-1], "iterates": 1}
        self._add_segments(choice.final[len(choice.added) :])
        for weight, value in zip(self.network.parameters(), self.average.values, strict=True):
            weight.copy_(value)
        starts = [0, *self.steps]
        return {
            "converged": choice.converged,
            "first": starts[min(choice.final)] + 1,
            "last": self.steps[max(choice.final)],
            "iterates": sum(self.steps[index] - starts[index] for index in choice.final),
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that `load` needs: tensors by name, and values that JSON can hold."""
        means = {"open": self.open, "average": self.average}
        means |= {str(index): segment for index, segment in self.segments.items()}
        tensors = {
            f"{name}.{place}": value
            for name, mean in means.items()
            for place, value in enumerate(mean.values)
        }
        counts = {name: mean.count for name, mean in means.items()}
        return tensors, {"losses": self.losses, "steps": self.steps, "counts": counts}

    def load(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        places = range(len(list(self.network.parameters())))
        means = {
            name: Mean([tensors[f"{name}.{place}"] for place in places] if count else [], count)
            for name, count in about["counts"].items()
        }
        self.losses, self.steps = about["losses"], about["steps"]
        self.open, self.average = means.pop("open"), means.pop("average")
        self.segments = {int(index): mean for index, mean in means.items()}


@torch.no_grad()
def estimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give the BatchNorm layers that are in training mode the mean statistics over `batches`.

    Averaged weights need statistics of their own: those of no iterate fit. Layers in evaluation mode are
    frozen and keep theirs, which torch's `update_bn` would reset too.

    Args:
        network: The network with averaged weights.
        batches: Images float32 [n, 3, H, W].
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over all batches
    for images in batches if layers else ():
        network(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
