"""SWAD: the average of all iterates while the loss on held-out images stays in its valley.

J. Cha, S. Chun, K. Lee, H.-C. Cho, S. Park, Y. Lee, S. Park, "SWAD: Domain Generalization by Seeking Flat
Minima", NeurIPS 2021, algorithm 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import Swad


@dataclass(frozen=True)
class Valley:
    """The evaluations, counted from 0, between which the held-out loss is in its valley.

    Attributes:
        start: The first evaluation in the valley.
        end: The last one; None as long as the valley lasts.
    """

    start: int
    end: int | None


def find_valley(losses: Sequence[float], rule: Swad) -> Valley | None:
    """Find the valley in the held-out losses of the evaluations so far; None if there is none yet.

    The valley starts with the first loss that is the least of itself and the n_converge - 1 after it. The
    threshold is the mean of these n_converge, times 1 + tolerance_ratio. Once the least of the last
    n_tolerance losses is above the threshold, the valley has ended, with the loss before those. Since the
    first loss is below the threshold, the valley never ends before it starts.
    """
    windows = [losses[first : first + rule.n_converge] for first in range(len(losses) - rule.n_converge + 1)]
    start = next((first for first, window in enumerate(windows) if window[0] == min(window)), None)
    if start is None:
        return None
    threshold = sum(windows[start]) / rule.n_converge * (1 + rule.tolerance_ratio)
    for seen in range(start + rule.n_converge + 1, len(losses) + 1):
        if min(losses[max(0, seen - rule.n_tolerance) : seen]) > threshold:
            return Valley(start, seen - rule.n_tolerance - 1)
    return Valley(start, None)


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
    """The average of the weights of `network` over the iterates in the valley of its held-out loss.

    The iterates between two evaluations are a segment, which the later evaluation stands for. The average is
    over all iterates of the segments from the start of the valley to its end, or to the end of training if
    the valley lasts. A network whose loss never converged keeps the weights of its last iterate. Segments
    that may or may not be in the valley are kept apart: at most n_converge or n_tolerance of them at a time,
    each as large as the network.

    Attributes:
        losses: The held-out loss of each evaluation.
        steps: The number of steps before each evaluation.
        open: The mean of the iterates since the last evaluation.
        segments: The means of segments that are kept apart, by the index of their evaluation.
        average: The mean of the iterates that are known to be in the valley.
    """

    def __init__(self, network: nn.Module, rule: Swad) -> None:
        self.network, self.rule = network, rule
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.open = Mean()
        self.segments: dict[int, Mean] = {}
        self.average = Mean()

    @property
    def valley(self) -> Valley | None:
        """The valley as far as it is known."""
        return find_valley(self.losses, self.rule)

    @property
    def ended(self) -> bool:
        """Whether the valley has ended, so that no later iterate can be in it."""
        valley = self.valley
        return valley is not None and valley.end is not None

    def add(self) -> None:
        """Add the network's weights as one more iterate."""
        self.open.add(self.network.parameters())

    def close_segment(self, step: int, loss: float) -> None:
        """Close the open segment by an evaluation: the held-out loss is `loss` after `step` steps."""
        self.segments[len(self.losses)], self.open = self.open, Mean()
        self.losses.append(loss)
        self.steps.append(step)
        valley, count = self.valley, len(self.losses)
        if valley is None:
            self._settle(start=count - self.rule.n_converge + 1, last=-1)
        else:
            self._settle(valley.start, count - self.rule.n_tolerance if valley.end is None else valley.end)

    def _settle(self, start: int, last: int) -> None:
        """Drop the segments before `start`, and move those from `start` to `last` into the average."""
        for index in sorted(self.segments):
            if index < start:
                del self.segments[index]
            elif index <= last:
                segment = self.segments.pop(index)
                self.average.add(segment.values, segment.count)

    @torch.no_grad()
    def finish(self) -> dict[str, Any]:
        """Give the network the averaged weights, if there is a valley.

        Returns:
            The content of averaging.json: `converged`, whether there is a valley; `first` and `last`, the
            first and the last step in the average, from 1; `iterates`, their number.
        """
        valley, last = self.valley, len(self.losses) - 1
        if valley is None:
            return {"converged": False, "first": self.steps[-1], "last": self.steps[-1], "iterates": 1}
        end = last if valley.end is None else valley.end
        self._settle(valley.start, end)
        for weight, value in zip(self.network.parameters(), self.average.values, strict=True):
            weight.copy_(value)
        before = self.steps[valley.start - 1] if valley.start else 0
        return {
            "converged": True,
            "first": before + 1,
            "last": self.steps[end],
            "iterates": self.average.count,
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
