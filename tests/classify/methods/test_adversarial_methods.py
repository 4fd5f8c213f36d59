"""DANN, CDAN, MDD, MCD, SDAT and ELS: the library's own losses without reversal, and a slow form by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.classify.factory import make_method
from pipeline.classify.method import Step
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import warm_start
from pipeline.classify.methods.sdat import conditional_adversarial_loss
from pipeline.classify.network import Network
from tests.classify.golden_samples import Backbone
from tests.classify.method_samples import (
    CLASSES,
    FEATURES,
    IMAGES,
    Flat,
    gradients,
    leaves,
    random_step,
    tiny_method,
)

pytestmark = pytest.mark.usefixtures("float64")

TRADE_OFF, PROGRESS = 0.7, 0.3


def check(
    term: Tensor, expected: Tensor, step: Step, ours: nn.Module, theirs: nn.Module, strength: float
) -> None:
    """`term` is trade-off times `expected`; of its gradients, those of features alone are reversed."""
    assert term.item() == pytest.approx(TRADE_OFF * expected.item(), abs=1e-8)
    pairs = zip(gradients(term, leaves(step)), gradients(expected, leaves(step)), strict=True)
    for reversed_gradient, gradient in pairs:
        np.testing.assert_allclose(reversed_gradient, -strength * TRADE_OFF * gradient, atol=1e-8)
    mine, other = gradients(term, [*ours.parameters()]), gradients(expected, [*theirs.parameters()])
    for gradient, expected_gradient in zip(mine, other, strict=True):
        np.testing.assert_allclose(gradient, TRADE_OFF * expected_gradient, atol=1e-8)


def library_conditional(discriminator: nn.Module, step: Step, entropy: bool = False) -> Tensor:
    loss = tllib.conditional_adversarial_loss(discriminator, nn.Identity(), entropy)
    source, target = step.labelled, step.target
    return loss(source.logits, source.features, target.logits, target.features)


def test_dann() -> None:
    step, method = random_step(PROGRESS), tiny_method("DANN", trade_off=TRADE_OFF, hidden=6)
    term = method.losses(step)["adversarial"]
    discriminator = copy.deepcopy(method.adversarial.domain_discriminator)
    theirs = tllib.domain_adversarial_loss(discriminator, nn.Identity())
    expected = theirs(step.labelled.features, step.target.features)
    check(term, expected, step, method.adversarial, theirs, warm_start(step, 0))


@pytest.mark.parametrize("name", ["CDAN", "CDAN+E"])
def test_cdan(name: str) -> None:
    step, method = random_step(PROGRESS), tiny_method(name, trade_off=TRADE_OFF, hidden=6)
    term = method.losses(step)["adversarial"]
    discriminator = copy.deepcopy(method.adversarial.domain_discriminator)
    expected = library_conditional(discriminator, step, entropy=name == "CDAN+E")
    check(term, expected, step, method, discriminator, warm_start(step, 0))


def test_sdat_is_cdan_and_mcc() -> None:
    step, method = random_step(PROGRESS), tiny_method("SDAT", trade_off=TRADE_OFF, temperature=2, hidden=6)
    terms, mcc = method.losses(step), tiny_method("MCC", temperature=2).losses(step)
    assert list(terms) == ["task", "confusion", "adversarial"]
    for some in (terms, method.ascent(step)):
        assert {name: some[name].item() for name in mcc} == {name: mcc[name].item() for name in mcc}
    discriminator = copy.deepcopy(method.discriminator)
    expected = library_conditional(discriminator, step)
    check(terms["adversarial"], expected, step, method, discriminator, warm_start(step, 0))
    els = tiny_method("ELS", trade_off=TRADE_OFF, temperature=2, hidden=6, eps=0).losses(step)
    assert {name: els[name].item() for name in els} == {name: terms[name].item() for name in terms}


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
def test_smoothed_labels_by_hand(eps: float) -> None:
    step, discriminator = random_step(), nn.Sequential(nn.Linear(12, 1), nn.Sigmoid())
    loss = conditional_adversarial_loss(discriminator, step.labelled, step.target, 0.4, eps)
    features, logits = (
        np.concatenate([one.detach().numpy() for one in pair]).astype(float)
        for pair in (leaves(step)[:2], leaves(step)[2:])
    )
    weight, bias = (one.detach().numpy().astype(float) for one in discriminator[0].parameters())
    value, slow = 0.0, np.zeros_like(features)
    for i, (f, z) in enumerate(zip(features, logits, strict=True)):
        p = np.exp(z) / sum(np.exp(z))
        guess = 1 / (1 + np.exp(-np.dot(weight[0], np.outer(p, f).ravel()) - bias[0]))
        domain = 1 - eps if i < IMAGES else eps
        value -= (domain * np.log(guess) + (1 - domain) * np.log(1 - guess)) / (2 * IMAGES)
        slow[i] = -0.4 * (guess - domain) / (2 * IMAGES) * (p @ weight.reshape(-1, FEATURES))
    assert loss.item() == pytest.approx(value, abs=1e-8)
    found = gradients(loss, leaves(step))
    np.testing.assert_allclose(np.concatenate(found[:2]), slow, atol=1e-8)
    assert not np.any(found[2:])


def test_els_smooths() -> None:
    step, method = random_step(PROGRESS), tiny_method("ELS", eps=0.2, hidden=6)
    expected = conditional_adversarial_loss(
        method.discriminator, step.labelled, step.target, warm_start(step, 0), 0.2
    )
    assert method.losses(step)["adversarial"].item() == pytest.approx(expected.item(), abs=1e-8)


def test_mdd() -> None:
    step, method = random_step(PROGRESS), tiny_method("MDD", trade_off=TRADE_OFF, margin=3, width=6).eval()
    head, (source, target) = copy.deepcopy(method.adversary), (step.labelled, step.target)
    expected = tllib.margin_disparity(3)(
        source.logits, head(source.features), target.logits, head(target.features)
    )
    check(method.losses(step)["disparity"], expected, step, method, head, 0.1 * warm_start(step, 0))

    adverse = [head(half.features).softmax(dim=1).detach().numpy() for half in (source, target)]
    chosen = [half.logits.argmax(dim=1).numpy() for half in (source, target)]
    p_source, p_target = (p[np.arange(IMAGES), k] for p, k in zip(adverse, chosen, strict=True))
    by_hand = -3 * np.log(p_source).mean() - np.log(1 - p_target + 1e-6).mean()  # the library adds 1e-6
    assert expected.item() == pytest.approx(by_hand, abs=1e-8)


def test_layers_of_mdd_are_drawn_as_the_librarys() -> None:
    network = Network(Flat(), CLASSES, bottleneck=2000)
    method = make_method("MDD", {"width": 3000}, network, seed=1)
    bottleneck, *heads = network.bottleneck[0], network.head[0], method.adversary[0]
    for layer, spread, bias in ((bottleneck, 0.005, 0.1), *((head, 0.01, 0.0) for head in heads)):
        # The standard deviation of n normal numbers is known to about 1 / sqrt(2 n) of itself.
        size = layer.weight.numel()
        assert layer.weight.std().item() == pytest.approx(spread, rel=4 / np.sqrt(2 * size))
        assert layer.weight.mean().item() == pytest.approx(0, abs=4 * spread / np.sqrt(size))
        assert torch.equal(layer.bias, torch.full_like(layer.bias, bias))
    assert not torch.equal(heads[0].weight, heads[1].weight)


def test_updates_of_mcd_move_what_they_say() -> None:
    network = Network(Backbone(), CLASSES, bottleneck=None)
    method = make_method("MCD", {"width": 6, "repeats": 2}, network, seed=1)
    groups = {group.name: group.parameters for group in method.parameter_groups(network)}
    moved = [
        update.groups and [name for name in groups if name in update.groups] for update in method.updates()
    ]
    assert moved == [None, ["head", "method"], *[["backbone", "bottleneck"]] * 2]
    assert sum(map(len, groups.values())) == len([*network.parameters(), *method.parameters()])
