"""The denoisers of stage two: at the source, at the target, and the one that guides the class."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from pipeline.diffusion.adapters import Adapter, load_adapter
from pipeline.diffusion.adapters.adapter import Condition
from pipeline.diffusion.base_model import BaseModel
from pipeline.planning.kinds.generate import GenerateParams


def merge_into_copy(model: BaseModel, adapter: Path, condition: Condition, scale: float) -> nn.Module:
    """Copy the denoiser of `model` and merge the adapter saved at `adapter` into the copy.

    Args:
        model: The base model, which stays as it is.
        adapter: The adapter's file.
        condition: The condition at which the adapter is merged.
        scale: A factor on the adapter's update.
    """
    denoiser = copy.deepcopy(model.denoiser)
    loaded = load_adapter(denoiser, adapter)
    loaded.set_scale(scale)
    loaded.merge(condition)
    return denoiser


@dataclass(frozen=True)
class Denoisers:
    """The denoisers of one base model and adapter; without an adapter all three are the base model's own.

    Attributes:
        at_source: With the adapter merged at t = 0, where source images are inverted; None if none are.
        at_target: With the adapter merged at t = 1.
        content: With the share of the adapter's update that guides the class (`Guidance.content_scale`).
    """

    at_source: nn.Module | None
    at_target: nn.Module
    content: nn.Module

    @classmethod
    def make(cls, model: BaseModel, adapter: Path | None, params: GenerateParams) -> "Denoisers":
        """Merge the adapter saved at `adapter` once for each denoiser; None takes the base model alone."""
        if adapter is None:
            return cls(model.denoiser, model.denoiser, model.denoiser)

        scale, share = params.scale, params.guidance.content_scale
        at_source = merge_into_copy(model, adapter, 0.0, scale) if params.contents == "adapted" else None
        at_target = merge_into_copy(model, adapter, 1.0, scale)
        content = at_target if share == 1 else merge_into_copy(model, adapter, 1.0, scale * share)
        return cls(at_source, at_target, content)

    def select(self, rows: pd.Index) -> None:
        """Prepare for these rows of the manifest. Merged denoisers are the same for all rows."""


@dataclass(frozen=True)
class AnalogyDenoisers(Denoisers):
    """The denoisers of a LoRWeB. Its mix differs between images, so that it is not merged.

    Attributes:
        adapters: The adapter in each denoiser, by the denoiser's attribute.
        identity: The conditions of all N rows of the manifest that change nothing, [N, 3 width].
        change: The conditions of all N rows that lead to the target, [N, 3 width].
    """

    adapters: dict[str, Adapter] = field(default_factory=dict)
    identity: Tensor = field(default_factory=lambda: torch.empty(0))
    change: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def load(
        cls, model: BaseModel, adapter: Path, params: GenerateParams, identity: Tensor, change: Tensor
    ) -> "AnalogyDenoisers":
        """Load the adapter saved at `adapter` into one copy of the denoiser for each role."""
        scales = {"at_source": 1.0, "at_target": 1.0, "content": params.guidance.content_scale}
        if params.contents != "adapted" or params.context == "grid":
            scales.pop("at_source")
        if scales["content"] == 1:
            scales.pop("content")
        denoisers, adapters = {}, {}
        for role, share in scales.items():
            denoisers[role] = copy.deepcopy(model.denoiser)
            adapters[role] = load_adapter(denoisers[role], adapter)
            adapters[role].set_scale(params.scale * share)
        at_target = denoisers["at_target"]
        content = denoisers.get("content", at_target)
        return cls(denoisers.get("at_source"), at_target, content, adapters, identity, change)

    def select(self, rows: pd.Index) -> None:
        """Set the mix for the images in these rows of the manifest."""
        for role, adapter in self.adapters.items():
            conditions = self.identity if role == "at_source" else self.change
            adapter.set_condition(conditions[rows.tolist()])
