"""DAN, JAN and AFN against slow forms in numpy."""

import numpy as np
import pytest
import torch

from pipeline.classify.factory import make_method
from pipeline.classify.method import Outputs, Step
from pipeline.classify.methods.afn import NormKeepingDropout
from pipeline.classify.network import Network
from pipeline.core.errors import UserError
from tests.classify.method_samples import (
    CLASSES,
    IMAGES,
    Flat,
    gradients,
    leaves,
    random_step,
    slow_gradient,
    tiny_method,
)

pytestmark = pytest.mark.usefixtures("float64")

TRADE_OFF = 0.7


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def distances(points: np.ndarray) -> np.ndarray:
    return np.array([[sum((one - other) ** 2) for other in points] for one in points])


def slow_discrepancy(kernel: np.ndarray, linear: bool) -> float:
    """The estimate from the kernel of all 2b points, without the pairs of a point with itself."""
    b = IMAGES
    pairs = [(i, (i + 1) % b) for i in range(b)] if linear else [(i, j) for i in range(b) for j in range(b)]
    within = [kernel[i, j] + kernel[b + i, b + j] for i, j in pairs if i != j]
    across = [kernel[i, b + j] + kernel[j, b + i] for i, j in pairs]
    return np.mean(within) - np.mean(across) + 2 / (b - 1)  # the library's constant


def kernel_of(features: np.ndarray, spread: float) -> np.ndarray:
    """Five Gaussians; no gradient flows through their `spread`, the mean squared distance."""
    squares = distances(features)
    return sum(np.exp(-squares / (2 * factor * spread)) for factor in (1 / 8, 1 / 4, 1 / 2, 1, 2))


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("name", ["DAN", "JAN"])
def test_discrepancies_and_their_gradients(name: str, linear: bool) -> None:
    step = random_step()
    term = tiny_method(name, trade_off=TRADE_OFF, linear=linear).losses(step)["discrepancy"]
    some = [leaf.detach().numpy().astype(float) for leaf in leaves(step)]
    features, logits = np.concatenate(some[:2]), np.concatenate(some[2:])
    spread = distances(features).mean()

    def slow(features: np.ndarray, logits: np.ndarray) -> float:
        kernel = kernel_of(features, spread)
        if name == "JAN":
            kernel = kernel * np.exp(-distances(softmax(logits)) / (2 * 0.92**2))
        return TRADE_OFF * slow_discrepancy(kernel, linear)

    assert term.item() == pytest.approx(slow(features, logits), abs=1e-8)
    found = gradients(term, leaves(step))
    slow_features = slow_gradient(lambda place: slow(place, logits), features)
    slow_logits = slow_gradient(lambda place: slow(features, place), logits)
    np.testing.assert_allclose(np.concatenate(found[:2]), slow_features, atol=1e-8)
    np.testing.assert_allclose(np.concatenate(found[2:]), slow_logits, atol=1e-8)


def test_afn_and_its_gradient() -> None:
    step = random_step()
    term = tiny_method("AFN", trade_off=TRADE_OFF, delta=0.5).losses(step)["norm"]
    halves = [leaf.detach().numpy().astype(float) for leaf in leaves(step)[:2]]
    norms = [np.sqrt((half**2).sum(axis=1)) for half in halves]  # as they are, no gradient flows through them

    def slow(half: np.ndarray, reached: np.ndarray) -> float:
        growths = [(np.sqrt(sum(f**2)) - (r + 0.5)) ** 2 for f, r in zip(half, reached, strict=True)]
        return TRADE_OFF * np.mean(growths)

    assert term.item() == pytest.approx(sum(map(slow, halves, norms)), abs=1e-8)
    found = gradients(term, leaves(step))
    for half, reached, gradient in zip(halves, norms, found[:2], strict=True):
        expected = slow_gradient(lambda place, reached=reached: slow(place, reached), half)
        np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_layers_of_afn_are_drawn_as_the_librarys() -> None:
    network = Network(Flat(), CLASSES, bottleneck=3000)
    make_method("AFN", {"blocks": 2}, network, seed=1)
    first, norm, _, _, second, *_ = network.bottleneck
    assert len(network.bottleneck) == 8
    assert second.in_features == second.out_features == 3000
    for weights, mean in ((first.weight, 0), (first.bias, 0), (norm.weight, 1), (network.head.weight, 0)):
        # The mean of n normal numbers is known to 1 / sqrt(n) of their standard deviation, and that to less.
        allowed = 4 * 0.01 / np.sqrt(weights.numel())
        assert weights.mean().item() == pytest.approx(mean, abs=allowed)
        assert weights.std().item() == pytest.approx(0.01, abs=allowed)
    assert not norm.bias.any()


def test_dropout_of_afn_keeps_the_expected_squared_norm() -> None:
    dropout, values = NormKeepingDropout(0.3), torch.ones(20_000)
    dropped = dropout(values)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / np.sqrt(0.7)])
    assert dropped.square().mean().item() == pytest.approx(1, abs=4 * np.sqrt(0.3 / 0.7 / 20_000))
    assert torch.equal(dropout.eval()(values), values)


def test_afn_survives_features_of_zeros() -> None:
    features = torch.zeros(2, 4, requires_grad=True)
    half = Outputs(features, torch.zeros(2, 3))
    tiny_method("AFN").losses(Step(half, torch.tensor([0, 1]), half, 0.0))["norm"].backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("name", ["DAN", "JAN"])
def test_a_batch_of_one_is_refused(name: str) -> None:
    half = Outputs(torch.zeros(1, 4), torch.zeros(1, 3))
    with pytest.raises(UserError, match=f"method {name}: train.batch_size must be at least 2, not 1"):
        tiny_method(name).losses(Step(half, torch.tensor([0]), half, 0.0))
