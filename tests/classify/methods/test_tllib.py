"""Which package the library's losses come from."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from pipeline.classify import registry
from pipeline.classify.factory import make_method
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import GradientReversal, warm_start
from pipeline.classify.network import Network
from pipeline.core.errors import UserError
from tests.classify.golden_samples import Stages
from tests.classify.method_samples import random_step


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    tllib.package.cache_clear()
    yield
    tllib.package.cache_clear()


def test_it_tells_which() -> None:
    package, number = tllib.version().split()
    assert package in tllib.LOSSES
    assert number[0].isdigit()


@pytest.mark.parametrize("name", registry.names())
def test_a_method_says_whether_it_uses_the_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported, original = [], tllib._imported
    monkeypatch.setattr(tllib, "_imported", lambda module: imported.append(module) or original(module))
    method = make_method(name, {}, Network(Stages(), 3, bottleneck=None), seed=0)
    assert method.uses_library == bool(imported)


def test_a_loss_comes_from_the_package_named() -> None:
    loss = tllib.domain_adversarial_loss(tllib.domain_discriminator(4, 3), GradientReversal())
    assert type(loss).__module__.startswith(tllib.package())


def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tllib, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'dalib<0.3'")):
        tllib.classifier_discrepancy()


def test_it_is_imported_only_when_a_method_that_needs_it_is_made() -> None:
    program = (
        "import sys; from pipeline.classify import registry; from pipeline.classify.training import stage;"
        "from pipeline.classify.methods import tllib; [registry.load(name) for name in registry.names()];"
        "assert not sys.modules.keys() & tllib.LOSSES.keys(), 'imported with the classes';"
        "registry.load('AFN')(4, 3); assert not sys.modules.keys() & tllib.LOSSES.keys(), 'imported for AFN';"
        "registry.load('DANN')(4, 3); assert sys.modules.keys() & tllib.LOSSES.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("iteration", [0, 100, 2500])
def test_our_reversal_of_gradients_is_the_librarys(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    """Its layer needs numpy's old name of float, and counts its own calls; ours is told the step."""
    monkeypatch.setattr(np, "float", float, raising=False)
    theirs = tllib._module("grl").WarmStartGradientReverseLayer()
    for _ in range(iteration):
        theirs.step()
    ours = GradientReversal()
    ours.coefficient = warm_start(replace(random_step(), iteration=iteration), 1000)
    values = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for layer in (ours, theirs):
        leaf = values.clone().requires_grad_()
        output = layer(leaf)
        assert torch.equal(output, values)
        output.square().sum().backward()
        found.append(leaf.grad)
    assert torch.allclose(*found, rtol=1e-6, atol=0)  # two roundings of float32, eps 1.2e-7


def test_tllib_is_taken_first_and_its_margin_disparity_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("tllib.alignment.mdd")
    theirs.ClassificationMarginDisparityDiscrepancy = lambda margin: lambda *logits: margin * sum(logits)
    monkeypatch.setitem(sys.modules, "tllib.alignment.mdd", theirs)
    monkeypatch.setattr(tllib, "find_spec", lambda name: theirs)
    assert tllib.package() == "tllib"
    assert tllib.margin_disparity(3.0)(torch.tensor(1.0), torch.tensor(2.0)) == -9
