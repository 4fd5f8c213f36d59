"""Every field of a suite, a card or a job has a description, from which its reference is made."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
from pydantic import BaseModel

from pipeline import config
from pipeline.planning import kinds


def models(package: ModuleType) -> list[type[BaseModel]]:
    """The models that the modules of a package declare."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    return [
        found
        for name in names
        for found in vars(importlib.import_module(name)).values()
        if inspect.isclass(found) and issubclass(found, BaseModel) and found.__module__ == name
    ]


@pytest.mark.parametrize("model", [*models(config), *models(kinds)], ids=lambda model: model.__name__)
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    assert model.__doc__
    assert [name for name, field in model.model_fields.items() if not field.description] == []
