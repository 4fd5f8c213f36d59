"""The denoisers of stage two: with an adapter as it is at the source, at the target, and where it guides the class."""

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


def merged(model: BaseModel, adapter: Path, t: Condition, scale: float) -> nn.Module:
    """A copy of the denoiser with the adapter saved at `adapter` merged at t, its update times `scale`."""
    denoiser = copy.deepcopy(model.denoiser)
    loaded = load_adapter(denoiser, adapter)
    loaded.set_scale(scale)
    loaded.merge(t)
    return denoiser


@dataclass(frozen=True)
class Denoisers:
    """The denoiser with the adapter merged at t = 0 and at t = 1, and as it guides the class.

    For the base model, thrice the same. Only adapted images need the one at t = 0, where their sources are inverted.
    """

    at_source: nn.Module | None
    at_target: nn.Module
    content: nn.Module

    @classmethod
    def make(cls, model: BaseModel, adapter: Path | None, params: GenerateParams) -> "Denoisers":
        """Merge the adapter saved at `adapter` once for each; with None, the base model as it is."""
        if adapter is None:
            return cls(model.denoiser, model.denoiser, model.denoiser)

        scale, share = params.scale, params.guidance.content_scale
        at_source = merged(model, adapter, 0.0, scale) if params.contents == "adapted" else None
        at_target = merged(model, adapter, 1.0, scale)
        content = at_target if share == 1 else merged(model, adapter, 1.0, scale * share)
        return cls(at_source, at_target, content)

    def turn_to(self, rows: pd.Index) -> None:
        """Get ready for the images in those rows of the manifest: they are the same for all."""


@dataclass(frozen=True)
class AnalogyDenoisers(Denoisers):
    """The same with a LoRWeB, which has another mix for each image, so that it is not merged.

    to_itself, condition: the analogies of all rows of the manifest, [N, 3 width], that lead nowhere and to the target.
    """

    adapters: dict[str, Adapter] = field(default_factory=dict)
    to_itself: Tensor = field(default_factory=lambda: torch.empty(0))
    condition: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def of(
        cls, model: BaseModel, adapter: Path, params: GenerateParams, to_itself: Tensor, condition: Tensor
    ) -> "AnalogyDenoisers":
        """Load the adapter saved at `adapter` into a copy of the denoiser for each."""
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
        return cls(denoisers.get("at_source"), at_target, content, adapters, to_itself, condition)

    def turn_to(self, rows: pd.Index) -> None:
        """Mix for the images in those rows of the manifest."""
        for role, adapter in self.adapters.items():
            analogies = self.to_itself if role == "at_source" else self.condition
            adapter.set_condition(analogies[rows.tolist()])
