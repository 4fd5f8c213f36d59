"""The losses of the methods for several source domains against slow, independent forms in float64."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.classify.factory import make_method
from pipeline.classify.levels import recorded_levels
from pipeline.classify.method import Outputs, Step, task_loss
from pipeline.classify.network import Network
from pipeline.classify.training.stage import _make_loop
from pipeline.core.errors import UserError
from tests.classify.golden_samples import Stages
from tests.classify.method_samples import slow_gradient, tiny_method
from tests.classify.train_samples import parameters

Make = Callable[..., Path]

FEATURES, CLASSES = 4, 3
DOMAINS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
WEIGHTS = np.where(DOMAINS == 2, 0.4, 1.0)
LABELS = np.array([0, 1, 2, 2, 2, 0, 1, 1, 0])


def step(weighted: bool = False, seed: int = 0) -> tuple[Step, np.ndarray, np.ndarray]:
    """Three images of each of three domains; features and logits as leaves, and in float64."""
    random = np.random.default_rng(seed)
    features, logits = random.standard_normal((9, FEATURES)), 2 * random.standard_normal((9, CLASSES))
    leaves = [
        torch.tensor(values, dtype=torch.get_default_dtype(), requires_grad=True)
        for values in (features, logits)
    ]
    weights = torch.tensor(WEIGHTS, dtype=torch.get_default_dtype()) if weighted else None
    images = torch.tensor(random.standard_normal((9, 3, 2, 2)), dtype=torch.get_default_dtype())
    made = Step(Outputs(*leaves), torch.tensor(LABELS), None, 0.3, torch.tensor(DOMAINS), weights, images)
    made = replace(made, domain_sizes=(3, 3, 3))
    return made, features, logits


def slow_losses(logits: np.ndarray) -> np.ndarray:
    """-log softmax of the label, image by image."""
    return np.array(
        [np.log(sum(np.exp(row))) - row[label] for row, label in zip(logits, LABELS, strict=True)]
    )


def check(
    value: torch.Tensor, leaf: torch.Tensor, slow: Callable[[np.ndarray], float], at: np.ndarray
) -> None:
    """That a loss and its gradient for `leaf` are those of `slow` at `at`."""
    assert value.item() == pytest.approx(slow(at), abs=1e-8)
    (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True)
    np.testing.assert_allclose(gradient.numpy(), slow_gradient(slow, at), atol=1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_the_task_weighs_images(weighted: bool) -> None:
    made, _, logits = step(weighted)
    weights = WEIGHTS if weighted else np.ones(9)

    def slow(at: np.ndarray) -> float:
        return sum(weights * slow_losses(at)) / sum(weights)

    check(task_loss(made), made.labelled.logits, slow, logits)
    for name in ("ERM", "CORAL", "SAGM"):
        method = make_method(name, {}, Network(Tiny(), CLASSES, None), seed=0, domains=3)
        assert torch.equal(method.losses(made)["task"], task_loss(made))


def slow_alignment(features: np.ndarray) -> float:
    total = 0.0
    for one, other in ((0, 1), (0, 2), (1, 2)):
        a, b = features[one == DOMAINS], features[other == DOMAINS]
        means = [sum(part) / 3 for part in (a, b)]
        covariances = [
            sum(np.outer(f - mean, f - mean) for f in part) / 2
            for part, mean in zip((a, b), means, strict=True)
        ]
        total += ((means[0] - means[1]) ** 2).sum() / FEATURES
        total += ((covariances[0] - covariances[1]) ** 2).sum() / FEATURES**2
    return total / 3


@pytest.mark.usefixtures("float64")
def test_coral() -> None:
    made, features, _ = step()
    loss = tiny_method("CORAL", trade_off=0.7).losses(made)["alignment"]
    check(loss, made.labelled.features, lambda at: 0.7 * slow_alignment(at), features)
    alike = replace(made, labelled=Outputs(made.labelled.features[:3].repeat(3, 1), made.labelled.logits))
    assert tiny_method("CORAL").losses(alike)["alignment"].item() == 0


def test_coral_needs_two_images_of_every_domain() -> None:
    made, _, _ = step()
    few = replace(made, domain_sizes=(4, 4, 1))
    with pytest.raises(UserError, match=r"method CORAL: train\.batch_size must be at least 2, not 1"):
        tiny_method("CORAL").losses(few)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weighted", [False, True])
def test_groupdro_over_several_steps(weighted: bool) -> None:
    method = make_method("GroupDRO", {"eta": 0.3}, Network(Tiny(), CLASSES, None), seed=0, domains=3)
    q = np.full(3, 1 / 3)
    for seed in range(4):
        made, _, logits = step(weighted, seed)

        def per_domain(at: np.ndarray) -> np.ndarray:
            return np.array([slow_losses(at)[domain == DOMAINS].mean() for domain in range(3)])

        q = q * np.exp(0.3 * per_domain(logits))
        q /= q.sum()
        p = q * (1, 1, 0.4) / (q * (1, 1, 0.4)).sum() if weighted else q
        loss = method.losses(made)["task"]
        check(loss, made.labelled.logits, lambda at, p=p: float(p @ per_domain(at)), logits)
        np.testing.assert_allclose(method.q.numpy(), q, atol=1e-12)


def test_groupdro_survives_a_loss_whose_exponential_overflows() -> None:
    made, _, _ = step()
    logits = torch.zeros(9, CLASSES)
    logits[DOMAINS == 1] = 1e5 * torch.nn.functional.one_hot(torch.tensor([1, 1, 1]), CLASSES).float()
    method = make_method("GroupDRO", {"eta": 1.0}, Network(Tiny(), CLASSES, None), seed=0, domains=3)
    loss = method.losses(replace(made, labelled=Outputs(made.labelled.features, logits)))["task"]
    assert method.q.tolist() == [0, 1, 0]
    assert loss.isfinite()


class Tiny(torch.nn.Sequential):
    """A backbone with weights and BatchNorm: images [n, 3, 2, 2] to features [n, 4]."""

    num_features = FEATURES
    normalisation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(12, FEATURES), torch.nn.BatchNorm1d(FEATURES))


@pytest.mark.usefixtures("float64")
def test_miro() -> None:
    network = Network(Stages(), CLASSES, None).eval()
    with torch.no_grad():
        network.backbone[1].running_mean += 0.5
    method = make_method("MIRO", {"ld": 0.3}, network, seed=0)
    made, _, _ = step()
    random = np.random.default_rng(1)
    oracle = copy.deepcopy(network.backbone)
    with torch.no_grad(), recorded_levels(oracle, list(Stages.levels)) as levels:
        oracle(made.images)
        network.backbone[3].weight.add_(1.0)  # the oracle is the network as it was
    means = [random.standard_normal(level.shape) for level in levels]
    of_step = tuple(torch.tensor(mean, requires_grad=True) for mean in means)
    loss = method.losses(replace(made, levels=of_step))["oracle"]

    def slow(at: np.ndarray, level: int, spread: np.ndarray) -> float:
        variance = np.log(1 + np.exp(spread)) + 1e-5
        each = [
            (o - m) ** 2 / variance[channel] + np.log(variance[channel])
            for maps, others in zip(levels[level].numpy(), at, strict=True)
            for channel, (o, m) in enumerate(zip(maps, others, strict=True))
        ]
        return 0.3 * np.mean(each) / 2

    start = [spread.detach().numpy().flatten() for spread in method.spreads]
    np.testing.assert_allclose(np.log(1 + np.exp(np.concatenate(start))) + 1e-5, 0.1, atol=1e-12)
    assert [len(spread) for spread in start] == [4, 6]
    assert loss.item() == pytest.approx(sum(slow(means[i], i, start[i]) for i in range(2)), abs=1e-8)
    for i in range(2):
        found = torch.autograd.grad(loss, [of_step[i], method.spreads[i]], retain_graph=True)
        by_mean = slow_gradient(lambda at, i=i: slow(at, i, start[i]), means[i])
        by_spread = slow_gradient(lambda at, i=i: slow(means[i], i, at), start[i])
        np.testing.assert_allclose(found[0].numpy(), by_mean, atol=1e-8)
        np.testing.assert_allclose(found[1].numpy().flatten(), by_spread, atol=1e-8)


def test_an_unchanged_network_pays_the_logarithm_of_the_variance_alone_whatever_its_dropout(
    prepared: Make, tmp_path: Path
) -> None:
    choice = parameters(
        method="MIRO", setting="dg", sources=["S", "U"], dropout=0.5, frozen_batchnorm=True, bottleneck=8
    )
    loop = _make_loop(choice, prepared(), {}, tmp_path / "checkpoint")
    loop.network.train()
    made = loop._forward(*loop._batch(0))
    assert [level.shape[1] for level in made.levels] == [16, 32, 64, 128]
    expected = 0.1 * 4 * np.log(0.1) / 2
    assert loop.method.losses(made)["oracle"].item() == pytest.approx(expected, abs=1e-6)


def test_the_oracle_of_miro_stays_what_it_was_and_its_variances_learn_faster(
    prepared: Make, tmp_path: Path
) -> None:
    choice = parameters(method="MIRO", setting="dg", sources=["S", "U"], backbone_lr_factor=0.5)
    loop = _make_loop(choice, prepared(), {}, tmp_path / "checkpoint")
    loop.network.train()
    rates = {group["name"]: group["lr"] for group in loop.optimizer.param_groups}
    assert rates == pytest.approx({"backbone": 1.5e-3, "head": 3e-3, "method": 3e-2})
    before = copy.deepcopy(loop.method.state_dict())
    loop._step(*loop._batch(0))
    changed = [
        name for name, value in loop.method.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert changed == [f"spreads.{level}" for level in range(4)]


def test_a_backbone_without_levels_is_refused() -> None:
    with pytest.raises(UserError, match=r"^the backbone Tiny has no levels, which the method needs: name"):
        make_method("MIRO", {}, Network(Tiny(), CLASSES, None), seed=0)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "words"),
    [
        ("CORAL", {"trade_off": -1.0}, "trade_off must be at least 0, not -1.0"),
        ("GroupDRO", {"eta": 0.0}, "eta must be above 0, not 0.0"),
        ("MIRO", {"ld": -0.1}, "ld must be at least 0, not -0.1"),
        ("MIRO", {"lr_factor": 0.0}, "lr_factor must be above 0, not 0.0"),
        ("SAGM", {"rho": 0.0}, "rho must be above 0, not 0.0"),
        ("SAGM", {"alpha": 0.0}, "alpha must be above 0, not 0.0"),
    ],
)
def test_impossible_hyperparameters_are_refused(name: str, hyperparameters: dict, words: str) -> None:
    with pytest.raises(UserError, match=f"^method {name}: {words}$"):
        tiny_method(name, **hyperparameters)


def test_a_step_of_sagm_is_two_gradient_evaluations(prepared: Make, tmp_path: Path) -> None:
    choice = parameters(
        method="SAGM", hyperparameters={"rho": 0.5, "alpha": 0.2}, setting="dg", sources=["S", "U"]
    )
    loop = _make_loop(choice, prepared(), {}, tmp_path / "checkpoint")
    loop.network.train()
    other = copy.deepcopy(loop)
    weights = list(other.network.parameters())
    before = [weight.detach().clone() for weight in weights]

    def gradient() -> list[torch.Tensor]:
        images, labels = other.labelled.batch(0, other.settings.batch_size, other.seed)
        loss = torch.nn.functional.cross_entropy(other.network(images)[1], labels)
        return torch.autograd.grad(loss, weights)

    here = gradient()
    length = torch.cat([part.flatten() for part in here]).norm()
    with torch.no_grad():
        for weight, part in zip(weights, here, strict=True):
            weight += (0.5 / length - 0.2) * part
    there = gradient()
    loop.optimizer.step = loop.lr_scheduler.step = lambda: None
    loop._step(*loop._batch(loop.done))
    for weight, old, one, two in zip(loop.network.parameters(), before, here, there, strict=True):
        assert torch.equal(weight, old)
        torch.testing.assert_close(weight.grad, (one + two) / 2, atol=1e-5, rtol=1e-4)
