"""The losses of the methods against slow, independent forms."""

import inspect
import textwrap

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from pipeline.classify import registry
from pipeline.classify.factory import make_method
from pipeline.classify.method import Method, Outputs, Step
from pipeline.classify.methods.mcc import class_confusion
from pipeline.classify.network import build_network
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError
from tests.classify.method_samples import CLASSES, FEATURES, random_step, tiny_method

DIGITS = TrainSettings(backbone="digits_cnn", iterations=1)


def slow_confusion(logits: np.ndarray, temperature: float, weights: np.ndarray | None = None) -> float:
    """Equations 2 to 7 of Jin et al. 2020, number by number; `weights` stand in for those of equation 4."""
    images, classes = logits.shape
    p = np.array([[np.exp(z / temperature) for z in row] for row in logits])
    p = np.array([row / sum(row) for row in p])
    if weights is None:
        weights = slow_weights(p)
    confusion = np.zeros((classes, classes))
    for j in range(classes):
        for k in range(classes):
            confusion[j, k] = sum(p[i, j] * weights[i] * p[i, k] for i in range(images))
    loss = 0.0
    for j in range(classes):
        total = sum(confusion[j])
        loss += sum(confusion[j, k] / total for k in range(classes) if k != j)
    return loss / classes


def slow_weights(p: np.ndarray) -> np.ndarray:
    entropy = np.array([-sum(x * np.log(x) for x in row) for row in p])
    return len(p) * (1 + np.exp(-entropy)) / sum(1 + np.exp(-entropy))


@pytest.mark.parametrize(("images", "classes", "temperature"), [(5, 3, 2.5), (7, 4, 1.0), (2, 6, 3.0)])
def test_class_confusion_and_its_gradient(images: int, classes: int, temperature: float) -> None:
    values = 3 * np.random.default_rng(images).standard_normal((images, classes))
    logits = torch.tensor(values, requires_grad=True)
    loss = class_confusion(logits, temperature)
    loss.backward()
    assert loss.item() == pytest.approx(slow_confusion(values, temperature), abs=1e-8)

    p = np.exp(values / temperature)
    weights = slow_weights(p / p.sum(axis=1, keepdims=True))  # no gradient flows through them
    slow = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        step = np.zeros_like(values)
        step[place] = 1e-5
        higher, lower = (slow_confusion(values + sign * step, temperature, weights) for sign in (1, -1))
        slow[place] = (higher - lower) / 2e-5
    np.testing.assert_allclose(logits.grad.numpy(), slow, atol=1e-8)  # see slow_gradient


def test_class_confusion_of_certain_and_of_vanished_classes() -> None:
    certain = 1000 * torch.eye(3)[[0, 1, 2, 0]]
    assert class_confusion(certain, 2.5).item() == 0
    vanished = (1000 * torch.eye(3)[[0, 1, 1, 0]]).requires_grad_()  # no image of the third class
    loss = class_confusion(vanished, 2.5)
    loss.backward()
    assert loss.item() == 0
    assert vanished.grad.isfinite().all()
    equal = torch.zeros(4, 3, dtype=torch.float64)
    assert class_confusion(equal, 2.5).item() == pytest.approx(2 / 3)


@pytest.mark.usefixtures("float64")
def test_the_terms_of_the_methods() -> None:
    network = build_network(DIGITS, 3, seed=0)
    random = torch.Generator().manual_seed(0)
    labelled, target = (Outputs(torch.zeros(4, 128), torch.randn(4, 3, generator=random)) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 0])
    step = Step(labelled, labels, target, 0.5)
    values = labelled.logits.numpy()
    log_p = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    labelled.logits.requires_grad_()
    task = -log_p[np.arange(4), labels].mean()

    erm = make_method("ERM", {}, network, seed=0).losses(Step(labelled, labels, None, 0.5))
    assert {name: value.item() for name, value in erm.items()} == {"task": pytest.approx(task, abs=1e-8)}
    erm["task"].backward()
    expected = (np.exp(log_p) - np.eye(3)[labels]) / 4
    np.testing.assert_allclose(labelled.logits.grad, expected, atol=1e-8)
    mcc = make_method("MCC", {"trade_off": 0.3, "temperature": 2}, network, seed=0).losses(step)
    assert mcc["task"].item() == pytest.approx(task, abs=1e-8)
    assert mcc["confusion"].item() == pytest.approx(0.3 * slow_confusion(target.logits.numpy(), 2), abs=1e-8)


def test_an_impossible_temperature_is_refused() -> None:
    with pytest.raises(UserError, match="temperature must be above 0, not -1"):
        make_method("MCC", {"temperature": -1.0}, build_network(DIGITS, 3, seed=0), seed=0)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "words"),
    [
        ("SDAT", {"rho": 0.0}, "method SDAT: rho must be above 0, not 0.0"),
        ("SDAT", {"temperature": 0}, "method SDAT: temperature must be above 0, not 0"),
        ("ELS", {"eps": 0.6}, "method ELS: eps must be from 0 to 0.5, not 0.6"),
        ("ELS", {"eps": -0.1}, "method ELS: eps must be from 0 to 0.5, not -0.1"),
        ("ELS", {"rho": -1.0}, "method ELS: rho must be above 0, not -1.0"),
        ("AFN", {"delta": 0.0}, "method AFN: delta must be above 0, not 0.0"),
        ("AFN", {"blocks": 0}, "method AFN: blocks must be above 0, not 0"),
        ("MCD", {"repeats": 0}, "method MCD: repeats must be above 0, not 0"),
        ("DANN", {"warm_up_steps": -1}, "method DANN: warm_up_steps must be at least 0, not -1"),
        ("MDD", {"margin": -0.5}, "method MDD: margin must be above 0, not -0.5"),
        ("MCD", {"width": 0}, "method MCD: width must be above 0, not 0"),
        ("CDAN+E", {"hidden": -3}, "method CDAN\\+E: hidden must be above 0, not -3"),
        *(
            (name, {"trade_off": -1.0}, f"method {name}: trade_off must be at least 0, not -1.0")
            for name in ("DANN", "CDAN", "DAN", "JAN", "AFN", "MCD", "MDD", "SDAT", "ELS")
        ),
    ],
)
def test_impossible_hyperparameters_are_refused(name: str, hyperparameters: dict, words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}$"):
        tiny_method(name, **hyperparameters)


@pytest.mark.usefixtures("float64")
def test_the_example_in_the_docstring_of_method_is_a_method() -> None:
    example = inspect.getdoc(Method).partition("::\n\n")[2].partition("\n\n* ")[0]
    names = {"cross_entropy": cross_entropy, "log_softmax": log_softmax, "method": registry.method}
    exec(textwrap.dedent(example), names | {"Method": Method, "Step": Step, "Tensor": torch.Tensor}, names)
    step = random_step()
    losses = names["EntropyMinimisation"](FEATURES, CLASSES).losses(step)
    p = step.target.logits.softmax(dim=1)
    assert losses["entropy"].item() == pytest.approx(-0.1 * (p * p.log()).sum(dim=1).mean().item())
