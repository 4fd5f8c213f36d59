"""Maximum classifier discrepancy: two heads that disagree where target features lie outside the source's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from pipeline.classify.method import Method, Step, Update
from pipeline.classify.methods import tllib
from pipeline.classify.registry import method

DROPOUT = 0.5


@method("MCD")
class MCD(Method):
    """Maximum classifier discrepancy (Saito et al. 2018): features on which two heads agree.

    K. Saito, K. Watanabe, Y. Ushiku, T. Harada, "Maximum Classifier Discrepancy for Unsupervised Domain
    Adaptation", CVPR 2018; the updates and heads of the transfer-learning library.

    A step has three kinds of updates. With two heads F1, which is the network's and predicts, and F2, of
    three layers each, and p1, p2 [b, classes] their probabilities for the target images, they minimise::

        all:      classify = cross_entropy(F1(labelled features), labels)
                             + cross_entropy(F2(labelled features), labels)
                             + trade_off_balance * (imbalance(p1) + imbalance(p2))
        heads:    classify - trade_off * mean |p1 - p2|, by F1 and F2 alone
        features: trade_off * mean |p1 - p2|, by all layers before the heads, `repeats` times

    Attributes:
        trade_off: The weight of the discrepancy, at least 0.
        trade_off_balance: The weight of the imbalance, at least 0.
        repeats: The number of updates of the features in a step, above 0.
        width: The width of the inner layers of both heads.
    """

    trade_off: float = 1.0
    trade_off_balance: float = 0.01
    repeats: int = 4
    width: int = 1024

    uses_library = True
    version = 2

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the second head."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.trade_off_balance >= 0, "trade_off_balance", "at least 0")
        self.require(self.repeats > 0, "repeats", "above 0")
        self.require(self.width > 0, "width", "above 0")
        self.discrepancy = tllib.classifier_discrepancy()
        self.second = self.make_head(features, classes)

    def make_head(self, features: int, classes: int) -> nn.Module:
        """Return a head of three layers."""
        layers: list[nn.Module] = []
        for inputs in (features, self.width):
            linear, norm = nn.Linear(inputs, self.width), nn.BatchNorm1d(self.width)
            layers += [nn.Dropout(DROPOUT), linear, norm, nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(self.width, classes))

    def updates(self) -> Sequence[Update]:
        """Return the update of everything, that of both heads, and those of the features."""
        features = Update("features", ("backbone", "bottleneck"))
        return (Update("all"), Update("heads", ("head", "method")), *[features] * self.repeats)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return `discrepancy` for the features, otherwise `task`, `balance` and for heads `disagreement`."""
        labelled, target = step.halves
        second = self.second(torch.cat([labelled.features, target.features]))
        second_labelled, second_target = second.split([len(labelled.logits), len(target.logits)])
        of_target = [softmax(logits, dim=1) for logits in (target.logits, second_target)]
        discrepancy = self.trade_off * self.discrepancy(*of_target)
        if step.update == "features":
            return {"discrepancy": discrepancy}
        terms = {
            "task": cross_entropy(labelled.logits, step.labels) + cross_entropy(second_labelled, step.labels),
            "balance": self.trade_off_balance * (imbalance(of_target[0]) + imbalance(of_target[1])),
        }
        return terms | {"disagreement": -discrepancy} if step.update == "heads" else terms


def imbalance(probabilities: Tensor) -> Tensor:
    """Return -mean over classes of log(mean over n of probabilities [n, classes] + 1e-6): a scalar.

    It is least if the n images have every class equally often. The library calls it entropy.
    """
    return -(probabilities.mean(dim=0) + 1e-6).log().mean()
