"""The denoisers of stage two: at the source, at the target, and the one that guides the class.

All are one network in memory. An adapter is merged anew where another one of them is called: restoring and
changing the adapted weights takes far less time than a pass, and a copy of an SDXL takes 5 GiB.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pipeline.diffusion.adapters import Adapter, load_adapter
from pipeline.diffusion.adapters.adapter import Condition
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.prompt_embeddings import Denoiser
from pipeline.planning.kinds.generate import GenerateParams


class SharedDenoiser:
    """The denoiser of a base model, with an adapter, in one of several states at a time.

    Args:
        model: Its denoiser is changed in place.
        adapter: The adapter's file.

    Attributes:
        adapter: The adapter on the denoiser.
    """

    def __init__(self, model: BaseModel, adapter: Path) -> None:
        self.denoiser = model.denoiser
        self.adapter: Adapter = load_adapter(model.denoiser, adapter)
        self._state: Callable[[], None] | None = None

    def in_state(self, enter: Callable[[], None]) -> Denoiser:
        """Return the denoiser in the state that `enter` brings it to, which is entered where it is called."""

        def denoiser(*arguments: Any, **options: Any) -> Any:
            if self._state is not enter:
                enter()
                self._state = enter
            return self.denoiser(*arguments, **options)

        return denoiser

    def merged_at(self, condition: Condition, scale: float) -> Denoiser:
        """Return the denoiser with the adapter merged at `condition`, its update multiplied by `scale`."""

        def enter() -> None:
            self.adapter.set_scale(scale)
            self.adapter.remerge(condition)

        self.adapter.warn_at(condition)
        return self.in_state(enter)

    def leave(self) -> None:
        """Enter the next state even if it is the present one, because what it depends on has changed."""
        self._state = None


@dataclass(frozen=True)
class Denoisers:
    """The denoisers of one base model and adapter; without an adapter all three are the base model's own.

    Attributes:
        at_source: With the adapter merged at t = 0, where source images are inverted; None if none are.
        at_target: With the adapter merged at t = 1.
        content: With the share of the adapter's update that guides the class (`Guidance.content_scale`).
    """

    at_source: Denoiser | None
    at_target: Denoiser
    content: Denoiser

    @classmethod
    def make(cls, model: BaseModel, adapter: Path | None, params: GenerateParams) -> "Denoisers":
        """Load the adapter saved at `adapter`; None takes the base model alone."""
        if adapter is None:
            return cls(model.denoiser, model.denoiser, model.denoiser)
        shared, scale, share = SharedDenoiser(model, adapter), params.scale, params.guidance.content_scale
        at_source = shared.merged_at(0.0, scale) if params.contents == "adapted" else None
        at_target = shared.merged_at(1.0, scale)
        content = at_target if share == 1 else shared.merged_at(1.0, scale * share)
        return cls(at_source, at_target, content)

    def select(self, rows: pd.Index) -> None:
        """Prepare for these rows of the manifest. Merged denoisers are the same for all rows."""


@dataclass(frozen=True)
class AnalogyDenoisers(Denoisers):
    """The denoisers of a LoRWeB. Its mix differs between images, so that it is not merged.

    Attributes:
        shared: The network, with the adapter.
        identity: The conditions of all N rows of the manifest that change nothing, [N, 3 width].
        change: The conditions of all N rows that lead to the target, [N, 3 width].
        selected: The rows of the next batch.
    """

    shared: SharedDenoiser | None = None
    identity: Tensor = field(default_factory=lambda: torch.empty(0))
    change: Tensor = field(default_factory=lambda: torch.empty(0))
    selected: list[int] = field(default_factory=list)

    @classmethod
    def load(
        cls, model: BaseModel, adapter: Path, params: GenerateParams, identity: Tensor, change: Tensor
    ) -> "AnalogyDenoisers":
        """Load the adapter saved at `adapter`."""
        shared, selected = SharedDenoiser(model, adapter), list[int]()
        scale, share = params.scale, params.guidance.content_scale

        def mix(conditions: Tensor, factor: float) -> None:
            shared.adapter.set_scale(factor)
            shared.adapter.set_condition(conditions[selected])

        inverts = params.contents == "adapted" and params.context != "grid"
        at_source = shared.in_state(partial(mix, identity, scale)) if inverts else None
        at_target = shared.in_state(partial(mix, change, scale))
        content = at_target if share == 1 else shared.in_state(partial(mix, change, scale * share))
        return cls(at_source, at_target, content, shared, identity, change, selected)

    def select(self, rows: pd.Index) -> None:
        """Set the mix for the images in these rows of the manifest."""
        assert self.shared is not None
        self.selected[:] = rows.tolist()
        self.shared.leave()
