"""The interface between a classifier method and the training loop. To add a method, read `Method`.

A method owns its losses, its hyper-parameters and modules of its own, such as a domain discriminator. The
loop owns everything else: data, the network, the optimiser and its schedule, evaluation and checkpoints.
Everything that a plug-in needs can be imported from here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pipeline.classify.ema import EMA
from pipeline.classify.network import Network
from pipeline.classify.step import Look, Outputs, Step, task_loss, total
from pipeline.classify.views import View, masked, randaugment
from pipeline.core.errors import UserError

__all__ = [
    "EMA",
    "Look",
    "Method",
    "Outputs",
    "ParameterGroup",
    "Phase",
    "Step",
    "Update",
    "View",
    "masked",
    "randaugment",
    "task_loss",
    "total",
]


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


@dataclass(frozen=True)
class Phase:
    """A part of a training, with a schedule and an optimiser's memory (momentum) of its own.

    Attributes:
        name: What `step.phase` and `look.phase` say.
        share: The share of train.iterations that the phase takes, in (0, 1]. The shares of all phases sum
            to 1.
        uses_labelled: Whether the phase trains on labelled images. If not, none are read, and
            `step.labelled` is empty.
        uses_target: Whether the phase trains on target images, for a method that uses the target at all.
        frozen: The names of the groups of parameters (see `Method.parameter_groups`) that are not trained.
        lr_factor: A factor on all learning rates.
        looks: How often `Method.look` is called: before the phase's first step, and then evenly spaced.
            At most once for each step.
    """

    name: str = ""
    share: float = 1.0
    uses_labelled: bool = True
    uses_target: bool = True
    frozen: tuple[str, ...] = ()
    lr_factor: float = 1.0
    looks: int = 0


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
    * **Views**: `views` asks for more augmentations of a step's images.
    * **Phases**: `phases` divides a training, and `look` sees all images between its steps.
    * **State** is kept in buffers, which checkpoints hold and which may grow. A method that keeps it
      elsewhere is refused, because a resumed training would end with other numbers.
    * **Random numbers** of torch, numpy and Python are seeded before each pass of each step.

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
        own = [weight for weight in self.parameters() if weight.requires_grad]  # not those of a teacher
        return [
            ParameterGroup("backbone", list(network.backbone.parameters())),
            ParameterGroup("bottleneck", list(network.bottleneck.parameters())),
            ParameterGroup("head", list(network.head.parameters())),
            ParameterGroup("method", own),
        ]

    def updates(self) -> Sequence[Update]:
        """Return the updates of every step, in order: by default a single one, of all weights.

        For each, the images pass through the network again, and `losses` is computed, with the update's name
        as `step.update`. The learning rate changes after the last.
        """
        return (Update(),)

    def views(self) -> Sequence[View]:
        """Return the views that every step holds in `step.views`: by default none."""
        return ()

    def phases(self) -> Sequence[Phase]:
        """Return the phases of a training, in order: by default a single one."""
        return (Phase(),)

    def look(self, look: Look) -> None:
        """See all images of the phase between two steps, `Phase.looks` times. Does nothing by default.

        The place for pseudo-labels, centroids and memory banks. What it finds belongs in buffers.
        """

    def after_step(self, network: Network) -> None:
        """Do what follows the optimiser, such as moving a teacher. Does nothing by default.

        Called once for each step, after its last update.
        """

    def evaluated(self, network: Network) -> Network:
        """Return the network that is evaluated, selected and saved: by default the one in training."""
        return network

    def forward(self, images: Tensor, *, update_statistics: bool = False) -> Outputs:
        """Pass images through the network in training, in the precision of the loop.

        Args:
            images: float32 [n, 3, H, W], normalised, such as `step.target_images` or one of `step.views`.
            update_statistics: Whether BatchNorm layers move their running statistics, which the loop's own
                pass of each step has moved already. They normalise by the batch in any case.
        """
        return self._pass(images, update_statistics)

    _pass: Callable[[Tensor, bool], Outputs]
    """Set by the loop."""

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
