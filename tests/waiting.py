"""Steps of trainings that must not wait for a number from the device."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest
from torch import Tensor

WAITING = ("item", "tolist", "__bool__", "__float__", "__int__", "nonzero", "unique")
"""The ways in which Python gets at a number of a tensor, and what has as many rows as its values say."""


@contextmanager
def nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch, but_of: Collection[Tensor] = ()) -> Iterator[None]:
    """Let every wait raise within this context.

    Args:
        monkeypatch: Replaces the methods of tensors.
        but_of: Tensors that are always on the CPU, whose numbers may be asked for.
    """
    allowed = {id(tensor) for tensor in but_of}

    def guarded(name: str) -> object:
        original = getattr(Tensor, name)

        def ask(self: Tensor, *arguments: object, **options: object) -> object:
            if id(self) not in allowed:
                raise AssertionError(f"a step waited for a number, by {name}")
            return original(self, *arguments, **options)

        return ask

    with monkeypatch.context() as patched:
        for name in WAITING:
            patched.setattr(Tensor, name, guarded(name))
        yield
