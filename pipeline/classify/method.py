"""The interface between a classifier method and the training loop. To add a method, read `Method`.

A method owns its losses, its hyper-parameters and modules of its own, such as a domain discriminator. The
loop owns everything else: data, the network, the optimiser and its schedule, evaluation and checkpoints.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.classify.network import Network
from pipeline.core.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """What the network computes from n images.

    Attributes:
        features: float32 [n, d], the input of the head: after the bottleneck and dropout, if there are any.
        logits: float32 [n, classes].
    """

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Step:
    """What a method gets for one step of training.

    All outputs come from one forward pass, so that BatchNorm sees labelled and target images together, as in
    the transfer-learning library. They are float32 in every precision, and gradients flow through them into
    the network. The loop sets every attribute; a step that a test makes needs only those that the method
    reads.

    Attributes:
        labelled: Outputs for b labelled images: source images, and made images if the augmentation adds them.
            Under uda, b is train.batch_size.
        labels: int64 [b], the classes of the labelled images.
        target: Outputs for unlabelled images of the target domain, as many as train.batch_size. None if the
            method's `uses_target` is False. Their labels never reach training.
        progress: The share of all steps that is done, in [0, 1). Schedules of a method depend on it or on
            `iteration`, so that a resumed training needs no memory of them.
        domains: int64 [b], the domain of each labelled image. Under dg the source domains are 0, 1, … with
            train.batch_size images each, and made images are one more domain. Under uda all are 0.
        weights: float32 [b], the weight of each labelled image in `task_loss`; None if all weigh 1.
        images: float32 [b, 3, H, W], the labelled images as the network got them: augmented and normalised.
        iteration: The number of steps that are done, from 0.
        update: The name of the update under way, of those of `Method.updates`.
        levels: The outputs of the levels of the backbone (see levels.py) for the labelled images, [b, …]
            each. Empty unless the method's `uses_levels` is True.
        domain_sizes: The number of labelled images of each domain, which come domain after domain: what
            `domains` says, without waiting for the device.
    """

    labelled: Outputs
    labels: Tensor
    target: Outputs | None
    progress: float
    domains: Tensor | None = None
    weights: Tensor | None = None
    images: Tensor | None = None
    iteration: int = 0
    update: str = ""
    levels: tuple[Tensor, ...] = ()
    domain_sizes: tuple[int, ...] = ()

    @property
    def halves(self) -> tuple[Outputs, Outputs]:
        """`labelled` and `target`, for a method that uses the target."""
        if self.target is None:
            raise ValueError("the step has no target images: they are left out where uses_target is False")
        return self.labelled, self.target


@dataclass(frozen=True)
class Update:
    """One update of weights within a step. Each has a forward pass of its own.

    Attributes:
        name: What `step.update` says, so that `losses` can tell which terms to compute.
        groups: The names of the groups of parameters that the update changes (see
            `Method.parameter_groups`); None for all.
    """

    name: str = ""
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that the optimiser treats alike.

    Attributes:
        name: `backbone`, `bottleneck`, `head`, `method`, or a name of the method's own.
        parameters: The weights.
        lr_factor: A factor on the learning rate that the settings give to the group.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    lr_factor: float = 1.0


def task_loss(step: Step) -> Tensor:
    """Return the mean cross-entropy of the labelled images, weighted by `step.weights`: a scalar."""
    if step.weights is None:
        return cross_entropy(step.labelled.logits, step.labels)
    each = cross_entropy(step.labelled.logits, step.labels, reduction="none")
    return (step.weights * each).sum() / step.weights.sum()


def total(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of one term or more."""
    return reduce(add, terms)


class Method(nn.Module):
    """Base class of all methods: derive from it, name the class by `@method`, and compute `losses`.

    A method is one class in one file: under `pipeline/classify/methods/`, in a file given by `--plugin`, or
    in an installed package. Nothing else has to be changed. The whole of entropy minimisation::

        @method("EntMin")
        class EntropyMinimisation(Method):
            \"\"\"Entropy minimisation (Grandvalet and Bengio 2004): certain predictions on the target.\"\"\"

            weight: float = 0.1

            def losses(self, step: Step) -> dict[str, Tensor]:
                labelled, target = step.halves
                log_p = log_softmax(target.logits, dim=1)
                entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
                return {"task": cross_entropy(labelled.logits, step.labels), "entropy": self.weight * entropy}

    * **Name.** `@method` of `pipeline.classify.registry` gives the name that suites use. The first line of
      the docstring is what `terrabench methods` prints.
    * **Hyper-parameters** are the class attributes that have both an annotation and a default: a number, a
      bool or a string, written out. Suites may set them, within their type. They are read from the file's
      text without importing it, together with those of base classes in the same file or in `methods/`. An
      attribute without an annotation, such as `uses_target = False`, is no hyper-parameter.
    * **Modules**: `build` makes those that depend on the sizes of features and logits; `begin` those that
      depend on the network or on the number of domains. Parameters are trained at the head's learning rate;
      parameters and buffers are kept in checkpoints. Draw weights from torch's generator, which is seeded.
    * **Layers of the network**: `make_bottleneck` and `make_head` replace the network's own.
    * **Updates**: `updates` lists the updates of a step if there are several, and `parameter_groups` says
      which weights there are to update, and how fast each group learns.
    * **State** that is not in a buffer is lost when a training is resumed.

    Attributes:
        name: The name in suites, set by `@method`.
        uses_target: Whether `losses` reads `step.target`. If False, target images are neither loaded nor
            passed through the network, and the method can be trained under dg.
        uses_library: Whether losses or modules come from the transfer-learning library (see
            `methods/tllib.py`). Records then name its version.
        needs_domains: Whether `losses` compares source domains, of which only dg has several.
        uses_levels: Whether `losses` reads `step.levels`.
        separate_passes: Whether labelled and target images pass through the network one after the other, so
            that BatchNorm does not see them together.
        version: The version of the implementation, written out. Raise it in the change that makes a training
            end with other numbers: all trainings of the method, and of no other, are then made again. The
            text of a plug-in counts anyway.
        rho: The radius of sharpness-aware steps, by which the network's weights are moved along the gradient
            of `ascent` before `losses` is computed (see `training/sam.py`). None for ordinary steps.
        alpha: The strength of gradient matching in a sharpness-aware step, or None.
        both_statistics: Whether both passes of a sharpness-aware step update the running statistics of
            BatchNorm, or the first alone, whose weights are kept.
        independent_dropout: Whether the second pass of a sharpness-aware step draws dropout of its own.
    """

    name: str
    uses_target = True
    uses_library = False
    needs_domains = False
    uses_levels = False
    separate_passes = False
    version = 1
    rho: float | None = None
    alpha: float | None = None
    both_statistics = False
    independent_dropout = False

    def __init__(self, features: int, classes: int, **hyperparameters: Any) -> None:
        super().__init__()
        for name, value in hyperparameters.items():
            setattr(self, name, value)
        self.build(features, classes)

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters and make modules of the method's own. Does nothing by default.

        Args:
            features: The width d of features [n, d].
            classes: The width of logits [n, classes].

        Raises:
            UserError: A hyper-parameter is impossible (see `require`).
        """

    def make_bottleneck(self, width: int, features: int) -> nn.Module | None:
        """Return the layers between backbone and head, [n, width] to [n, features].

        Called after `build` if the suite states `train.bottleneck`. None, the default, keeps the network's:
        Linear, BatchNorm and ReLU.
        """
        return None

    def make_head(self, features: int, classes: int) -> nn.Module | None:
        """Return the layers that predict, [n, features] to logits [n, classes].

        Called after `make_bottleneck`. None, the default, keeps the network's linear head.
        """
        return None

    def begin(self, network: Network, domains: int) -> None:
        """Make what depends on the network before its first step, or on the domains. Does nothing by default.

        Args:
            network: The network with its initial weights.
            domains: The number of domains among labelled images: 1 under uda.
        """

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """Return all weights that are trained, by groups: those of the network, and the method's own.

        The group `backbone` learns at `train.backbone_lr_factor` times the learning rate.
        """
        return [
            ParameterGroup("backbone", list(network.backbone.parameters())),
            ParameterGroup("bottleneck", list(network.bottleneck.parameters())),
            ParameterGroup("head", list(network.head.parameters())),
            ParameterGroup("method", list(self.parameters())),
        ]

    def updates(self) -> Sequence[Update]:
        """Return the updates of every step, in order: by default a single one, of all weights.

        For each, the images pass through the network again, and `losses` is computed, with the update's name
        as `step.update`. The learning rate changes after the last.
        """
        return (Update(),)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms of the loss by name: scalars, multiplied by their weights. Their sum is minimised.

        The means of all terms over the steps in between are columns of history.csv. Of terms with one name in
        several updates of a step, the last counts there.
        """
        raise NotImplementedError

    def ascent(self, step: Step) -> dict[str, Tensor]:
        """Return the terms on whose sum a sharpness-aware step ascends, in the form of `losses`.

        Called only if `rho` is set. It should not run the method's own modules: only the network is moved,
        and their BatchNorm layers would see every batch twice.
        """
        raise NotImplementedError

    def require(self, valid: bool, name: str, rule: str) -> None:
        """Raise UserError unless `valid`: the hyper-parameter `name` must be `rule`, such as "at least 0"."""
        if not valid:
            raise UserError(f"method {self.name}: {name} must be {rule}, not {getattr(self, name)}")

    def require_pairs(self, step: Step) -> None:
        """Raise UserError if a domain has one image in `step`, and thus no distances within it."""
        count = min(step.domain_sizes, default=len(step.labels))
        if count < 2:
            raise UserError(f"method {self.name}: train.batch_size must be at least 2, not {count}")
