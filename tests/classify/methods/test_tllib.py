"""Which package the library's losses come from."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from pipeline.classify import registry
from pipeline.classify.method import make_method
from pipeline.classify.methods import tllib
from pipeline.classify.network import Network
from pipeline.core.errors import UserError
from tests.classify.method_samples import Flat


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
    method = make_method(name, {}, Network(Flat(), 3, bottleneck=None), seed=0)
    assert method.uses_library == bool(imported)


def test_a_loss_comes_from_the_package_named() -> None:
    assert tllib.find_loss("dann", "DomainAdversarialLoss").__module__.startswith(tllib.package())


def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tllib, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install 'dalib<0.3'"):
        tllib.find_loss("dann", "DomainAdversarialLoss")


def test_tllib_is_taken_first_and_its_margin_disparity_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("tllib.alignment.mdd")
    theirs.ClassificationMarginDisparityDiscrepancy = lambda margin: lambda *logits: margin * sum(logits)
    monkeypatch.setitem(sys.modules, "tllib.alignment.mdd", theirs)
    monkeypatch.setattr(tllib, "find_spec", lambda name: theirs)
    assert tllib.package() == "tllib"
    assert tllib.margin_disparity(3.0)(torch.tensor(1.0), torch.tensor(2.0)) == -9
