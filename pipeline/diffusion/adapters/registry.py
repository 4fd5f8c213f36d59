"""The registry of adapter types: a class registers itself by the name that suites give as `adapter.type`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.diffusion.adapters.adapter import Adapter

AdapterClass = TypeVar("AdapterClass", bound="type[Adapter]")

_CLASSES: dict[str, type[Adapter]] = {}

_OF_MORPHS = {"lora_pair": "pipeline.diffusion.morph.lora_pair"}
"""Types that files hold and no suite names, and the module that registers each when it is imported."""


def register(name: str) -> Callable[[AdapterClass], AdapterClass]:
    """Return a class decorator that registers an adapter under `name`."""

    def add(adapter: AdapterClass) -> AdapterClass:
        _CLASSES[name] = adapter
        return adapter

    return add


def adapter_types() -> list[str]:
    """Return the names of the types that a suite can give as `adapter.type`."""
    return sorted(set(_CLASSES) - set(_OF_MORPHS))


def saved_types() -> list[str]:
    """Return the names of all types that an adapter's file can hold."""
    return [*adapter_types(), *_OF_MORPHS]


def adapter_class(name: str) -> type[Adapter]:
    """Return the class registered under `name`.

    Raises:
        UserError: No adapter has this name. The message lists the names that exist.
    """
    if name in _OF_MORPHS:
        import_module(_OF_MORPHS[name])
    if name not in _CLASSES:
        raise UserError(f"adapter.type: there is no adapter {name!r}; expected {', '.join(adapter_types())}")
    return _CLASSES[name]
