"""Two steps of every method of the papers, against the numbers of its authors' code on the same inputs.

Losses, weights and BatchNorm's statistics are compared. tests/reference/ says how the numbers were made.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.classify.factory import make_method
from pipeline.classify.network import Network
from pipeline.classify.training.loop import Loop
from pipeline.classify.training.optimizers import rate_schedule
from pipeline.config import TrainSettings
from pipeline.core.lr_schedule import schedule_rates
from tests.classify import golden_samples as golden
from tests.classify.golden_samples import CLASSES, FEATURES, FIRST, HIDDEN, batch, fill, labels

pytestmark = pytest.mark.usefixtures("float64")

STEPS = 2

TOLERANCE = 1e-9
"""The largest absolute difference. The files have 12 digits, and the epsilons of MCC's weights differ."""


class Batches:
    """Domains of equally many images, as `Loop` asks for them."""

    def __init__(self, domains: int) -> None:
        self.domains = domains

    def groups(self, size: int) -> tuple[Tensor, None]:
        return torch.arange(self.domains).repeat_interleave(size), None


@dataclass(frozen=True)
class Case:
    """A method, and the settings of the authors' script.

    Attributes:
        method: Its name.
        hyperparameters: Those that differ from the defaults.
        settings: Those that differ from the ones of `trained`.
        own: The name of its module that the authors have outside of the network, if there is one.
    """

    method: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    own: str | None = None


def trained(case: Case, backbone: nn.Module, domains: int, **settings: Any) -> Loop:
    """The loop of a case, before its first step."""
    given = TrainSettings(
        backbone="digits_cnn", iterations=1000, batch_size=golden.IMAGES, **settings | case.settings
    )
    network = Network(backbone, CLASSES, given.bottleneck, given.dropout, given.frozen_batchnorm)
    if case.method == "MIRO":
        fill(oracle=backbone)
    method = make_method(case.method, case.hyperparameters, network, seed=0, domains=domains)
    target: Any = object() if method.uses_target else None
    batches: Any = Batches(domains)
    return Loop(network, method, batches, target, None, given, 0, Path("unused"))


def modules(loop: Loop, case: Case) -> dict[str, nn.Module]:
    """The modules by the roles that they have in the golden numbers."""
    found = {
        "backbone": loop.network.backbone,
        "bottleneck": loop.network.bottleneck,
        "head": loop.network.head,
    }
    if case.own:
        found["method"] = loop.method.get_submodule(case.own)
    return found


def compare(
    system: str,
    name: str,
    losses: list[float],
    without: str | None = None,
    tolerance: float = TOLERANCE,
    **parts: nn.Module,
) -> None:
    """Hold losses and the state of modules against golden numbers, but for names with `without` in them."""
    expected = golden.read(system, name)
    found = {"losses": losses} | golden.state(**parts)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        if without and without in key:
            continue
        np.testing.assert_allclose(found[key], values, rtol=0, atol=tolerance, err_msg=key)


COUNTED = {"warm_up_steps": 1000}
DISCRIMINATOR = COUNTED | {"hidden": HIDDEN}
SMOOTH = DISCRIMINATOR | {"rho": 0.02, "temperature": 2.0, "both_statistics": True}
ADVERSARIAL = {"learning_rate": 0.01}
DISCREPANCY = {"learning_rate": 0.003, "weight_decay": 5e-4, "inverse_gamma": 3e-4}
CONSTANT = {"learning_rate": 0.001, "weight_decay": 5e-4, "schedule": "constant", "nesterov": False}
ALONE = CONSTANT | {"backbone_lr_factor": 1.0, "backbone_momentum": 0.0}

UDA = {
    "erm": Case(
        "ERM", {}, {"learning_rate": 0.001, "weight_decay": 5e-4, "inverse_gamma": 3e-4, "bottleneck": None}
    ),
    "dann": Case("DANN", DISCRIMINATOR, ADVERSARIAL, "adversarial.domain_discriminator"),
    "cdan": Case("CDAN", DISCRIMINATOR, ADVERSARIAL, "adversarial.domain_discriminator"),
    "cdan_entropy": Case("CDAN+E", DISCRIMINATOR, ADVERSARIAL, "adversarial.domain_discriminator"),
    "mcc": Case("MCC", {"temperature": 2.5}, {"learning_rate": 0.005}),
    "dan": Case("DAN", {}, DISCREPANCY),
    "jan": Case("JAN", {}, DISCREPANCY),
    "afn": Case("AFN", {"trade_off_entropy": 0.1}, ALONE),
    "mdd": Case(
        "MDD",
        COUNTED | {"width": HIDDEN},
        {"learning_rate": 0.004, "weight_decay": 5e-4, "inverse_gamma": 2e-4},
        "adversary",
    ),
    "mcd": Case("MCD", {"width": HIDDEN, "trade_off": 30.0}, ALONE | {"bottleneck": None}, "second"),
    "sdat": Case("SDAT", SMOOTH, ADVERSARIAL, "discriminator"),
    "els": Case("ELS", SMOOTH | {"eps": 0.1}, ADVERSARIAL, "discriminator"),
}


@pytest.mark.parametrize("name", UDA)
def test_unsupervised_domain_adaptation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = UDA[name]
    loop = trained(case, golden.Backbone(), domains=1, **{"bottleneck": FEATURES} | case.settings)
    parts = {role: part for role, part in modules(loop, case).items() if not isinstance(part, nn.Identity)}
    fill(**parts)
    loop.done = FIRST
    loop.lr_scheduler = schedule_rates(
        loop.optimizer, rate_schedule(loop.settings, loop.settings.iterations), FIRST
    )
    loop.network.train()
    with golden.controlled(monkeypatch) as losses:
        for step in range(STEPS):
            images = [batch("source", step)] + [batch("target", step)] * loop.method.uses_target
            loop._step(torch.cat(images), labels(step))
            loop.done += 1
    compare("uda_methods", name, losses, **parts)


ADAM = {"optimizer": "adam", "learning_rate": 0.003, "schedule": "constant", "frozen_batchnorm": True}

DG = {
    "erm": Case("ERM"),
    "coral": Case("CORAL", {"trade_off": 0.7}),
    "groupdro": Case("GroupDRO", {"eta": 0.3}),
    "sagm": Case("SAGM", {"alpha": 0.05, "independent_dropout": True}, {"dropout": 0.5}),
    "miro": Case("MIRO", {}, {"dropout": 0.5}, "spreads"),
}


@pytest.mark.parametrize("name", DG)
def test_domain_generalisation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = DG[name]
    loop = trained(case, golden.Stages(), domains=3, backbone_lr_factor=1.0, **ADAM)
    parts = {role: part for role, part in modules(loop, case).items() if role != "bottleneck"}
    fill(**parts)
    loop.network.train()
    with golden.controlled(monkeypatch) as losses:
        for step in range(STEPS):
            images = torch.cat([batch(f"domain{domain}", step) for domain in range(3)])
            loop._step(images, torch.cat([labels(step + domain) for domain in range(3)]))
            loop.done += 1
    if name == "groupdro":
        parts["q"] = nn.ParameterList([loop.method.q])
    compare("dg_methods", name, losses, **parts)
