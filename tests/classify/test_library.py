"""Which package the library's losses come from."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from method_samples import Flat

from pipeline.classify import library, registry
from pipeline.classify.method import make_method
from pipeline.classify.network import Network
from pipeline.errors import UserError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    library.package.cache_clear()
    yield
    library.package.cache_clear()


def test_it_tells_which() -> None:
    package, number = library.version().split()
    assert package in library.LOSSES and number[0].isdigit()


@pytest.mark.parametrize("name", registry.names())
def test_a_method_says_whether_it_uses_the_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported, original = [], library._imported
    monkeypatch.setattr(library, "_imported", lambda module: imported.append(module) or original(module))
    method = make_method(name, {}, Network(Flat(), 3, bottleneck=None), seed=0)
    assert method.uses_library == bool(imported)


def test_a_loss_comes_from_the_package_named() -> None:
    assert library.find_loss("dann", "DomainAdversarialLoss").__module__.startswith(library.package())


def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install 'dalib<0.3'"):
        library.find_loss("dann", "DomainAdversarialLoss")


def test_tllib_is_taken_first_and_its_margin_disparity_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("tllib.alignment.mdd")
    theirs.ClassificationMarginDisparityDiscrepancy = lambda margin: lambda *logits: margin * sum(logits)
    monkeypatch.setitem(sys.modules, "tllib.alignment.mdd", theirs)
    monkeypatch.setattr(library, "find_spec", lambda name: theirs)
    assert library.package() == "tllib"
    assert library.margin_disparity(3.0)(torch.tensor(1.0), torch.tensor(2.0)) == -9
