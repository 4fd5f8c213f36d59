"""Methods by name: what is found, without torch, and what is refused, in which words."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.classify import declarations, registry
from pipeline.config import MethodSpec
from pipeline.core.errors import UserError
from pipeline.planning.kinds.train import GRADIENTS


def check(name: str, **hyperparameters: float | bool | str) -> None:
    registry.check_method(MethodSpec(name=name, hyperparameters=hyperparameters))


def test_what_is_declared_is_what_is_loaded() -> None:
    for name, declared in registry.declarations().items():
        loaded = registry.load(name)
        assert loaded.name == name
        assert declared.about
        assert {key: getattr(loaded, key) for key in declared.hyperparameters} == declared.hyperparameters
        for attribute in ("uses_target", "needs_domains", "version"):
            assert getattr(loaded, attribute) == getattr(declared, attribute)


def test_defaults_are_those_of_the_paper() -> None:
    assert registry.declarations()["MCC"].hyperparameters == {"temperature": 2.5, "trade_off": 1.0}
    assert registry.declarations()["ERM"].hyperparameters == {}
    assert registry.declarations()["AFN"].hyperparameters == {
        "trade_off": 0.05,
        "delta": 1.0,
        "trade_off_entropy": 0.0,
        "blocks": 1,
    }
    assert registry.declarations()["ELS"].hyperparameters == {
        "eps": 0.1,
        "rho": 0.02,
        "temperature": 2.5,
        "trade_off": 1.0,
        "hidden": 1024,
        "warm_up_steps": 0,
        "both_statistics": False,
    }


def test_all_are_there() -> None:
    assert registry.names() == [
        "AFN",
        "CDAN",
        "CDAN+E",
        "CORAL",
        "DAN",
        "DANN",
        "ELS",
        "ERM",
        "FixMatch",
        "GroupDRO",
        "JAN",
        "MCC",
        "MCD",
        "MDD",
        "MIC",
        "MIRO",
        "NRC",
        "SAGM",
        "SDAT",
        "SHOT",
    ]


def test_checking_imports_no_torch() -> None:
    program = (
        "import sys; from pipeline.classify import registry; from pipeline.config import MethodSpec;"
        "registry.check_method(MethodSpec(name='MCC')); registry.describe_methods();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "words"),
    [
        ("MCCC", {}, ["'MCCC'", "ERM", "did you mean 'MCC'?"]),
        (
            "MCC",
            {"temprature": 2.0},
            ["MCC", "'temprature'", "temperature, trade_off", "mean 'temperature'?"],
        ),
        ("ERM", {"temperature": 2.0}, ["ERM", "'temperature'", "there are: none"]),
        ("MCC", {"temperature": "hot"}, ["temperature takes a number", "'hot'"]),
        ("MCC", {"trade_off": True}, ["trade_off takes a number", "True"]),
    ],
)
def test_refused_in_words(name: str, hyperparameters: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        check(name, **hyperparameters)
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_whole_number_is_a_number() -> None:
    check("MCC", temperature=3)


def test_a_new_file_declares_its_methods(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n@method('Mine')\nclass Mine(Method):\n    '''Mine (me).'''\n    weight: float = -0.5\n"
        "    plain = 3\n    steps: int = 4\n    name: str\n"
    )
    assert declarations.declared_in(file, "mine") == [
        declarations.Declaration("Mine", "mine", {"weight": -0.5, "steps": 4}, "Mine (me).")
    ]


def test_hyperparameters_are_inherited_from_the_file_and_from_methods(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "class Base(Method):\n    margin: float = 1.0\n    rounds: int = 2\n    plain = "
        "3\n@method('Mine')\nclass Mine(Base, mcc.MCC):\n    rounds = 5\n    plain = 4\n    temperature: "
        "float = 1.5\n"
    )
    (declared,) = declarations.declared_in(file, "mine")
    assert declared.hyperparameters == {"temperature": 1.5, "trade_off": 1.0, "margin": 1.0, "rounds": 5}


def test_planning_knows_which_methods_compute_several_gradients_a_step() -> None:
    for name in registry.names():
        made = registry.load(name)(features=4, classes=3)
        assert (1 if made.rho is None else 2) * len(made.updates()) == GRADIENTS.get(name, 1), name


def test_a_version_is_read_from_the_file_and_from_methods(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "class Base(Method):\n    version = 4\n@method('Mine')\nclass Mine(Base):\n    pass\n"
        "@method('Mine2')\nclass Mine2(MDD):\n    pass\n@method('Mine3')\nclass Mine3(Method):\n    pass\n"
    )
    assert [declared.version for declared in declarations.declared_in(file, "mine")] == [4, 2, 1]


def test_description_names_all() -> None:
    text = registry.describe_methods()
    assert "MCC" in text
    assert "temperature=2.5, trade_off=1.0" in text
    assert "hyper-parameters: none" in text
    assert "GroupDRO Group distributionally" in text
