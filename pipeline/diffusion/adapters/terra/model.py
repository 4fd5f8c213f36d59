"""Terra on a whole denoiser: which layers it wraps, its time, merging; and one that starts from a LoRA."""

import re
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import Condition, layer_generator
from pipeline.diffusion.adapters.layers import LayeredAdapter
from pipeline.diffusion.adapters.lora.file import read_lora
from pipeline.diffusion.adapters.terra import forms
from pipeline.diffusion.adapters.terra.layer import TerraLayer, TerraState


class TerraAdapter(LayeredAdapter):
    """Wraps, in place, the layers of `denoiser` that `spec` names, and freezes everything else.

    UserError if no layer matches, or one that does can't be wrapped.
    """

    parts = ("down", "middle", "up")
    layers: dict[str, TerraLayer]

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        super().__init__(spec)
        self.state = TerraState(t=torch.zeros(spec.t_dim), scale=self.factor)

        def wrapped(name: str, base: nn.Linear | nn.Conv2d) -> TerraLayer:
            return TerraLayer(base, spec, self.state, len(self.layers), layer_generator(seed, name))

        self._wrap(denoiser, wrapped)
        self._made_of: tuple[Tensor, list[int]] | None = None
        """The t, and by how many changes the weights, from which the K(t) that are kept were made."""
        denoiser.register_forward_pre_hook(self._make_middles)

    def _make_middles(self, *_: object) -> None:
        """K(t) of all layers at once, before each pass: one by one they cost as much as the layers themselves.

        Where nothing learns, such as in the steps of sampling, once for the same t and weights. Of t and K(t), which
        are small, no digit is lost to half precision.
        """
        layers = list(self.layers.values())
        if layers[0].merged or not forms.has_middle(self.spec):
            return
        if (
            torch.is_grad_enabled() or layers[0].middle.is_inference()
        ):  # of these torch does not count the changes
            made_of = None
        else:
            made_of = (self.state.t, [layer.middle._version for layer in layers])
            if self._made_of and made_of[0] is self._made_of[0] and made_of[1] == self._made_of[1]:
                return
        weights = torch.stack([layer.middle for layer in layers])
        with torch.autocast(weights.device.type, enabled=False):
            self.state.middles = forms.middle(self.spec, weights, self.state.t.to(weights)).unbind()
        self._made_of = made_of

    @classmethod
    def from_lora(
        cls,
        denoiser: nn.Module,
        path: Path,
        seed: int,
        form: Literal["linear", "exponential", "cosine"] = "linear",
        diagonal: bool = False,
        t_dim: int = 1,
    ) -> "TerraAdapter":
        """A new Terra that at t = 0 is the LoRA in the file at `path`, on the layers and of the rank that it has.

        B is multiplied by the inverse of K(0), which is I of the linear and exponential forms, and of the cosine
        form the diagonal of sum_d a_d. UserError if the file does not fit `denoiser`, or has layers of different
        ranks.
        """
        factors = read_lora(denoiser, path)
        ranks = {len(down) for down, _ in factors.values()}
        if len(ranks) > 1:
            raise UserError(f"{path} has layers of ranks {sorted(ranks)}, but those of a Terra have one rank")
        (rank,) = ranks
        include = "|".join(map(re.escape, factors))
        spec = AdapterSpec(form=form, diagonal=diagonal, t_dim=t_dim, rank=rank, alpha=rank, include=include)
        adapter = cls(denoiser, spec, seed)
        with torch.no_grad():
            for name, (down, up) in factors.items():
                layer = adapter.layers[name]
                at_zero = forms.matrix(spec, layer.middle, torch.zeros(t_dim))
                layer.down.copy_(down)
                layer.up.copy_(torch.linalg.solve(at_zero, up, left=False))
        return adapter

    def set_condition(self, condition: Condition) -> None:
        """Set the time t of the next batches: a number or [t_dim], or one per sample, [n] or [n, t_dim]."""
        self.state.t = forms.as_time(self.spec, condition)

    def merge(self, condition: Condition) -> None:
        """Put dW(t) into the base weights; SingularWarning if K(t) of a layer is singular there."""
        self.unmerge()
        for layer in self.layers.values():
            layer.merge(layer.delta(condition))
        weights = {name: layer.middle for name, layer in self.layers.items()}
        forms.warn_if_singular(self.spec, weights, forms.one_time(self.spec, condition, torch.float64))

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """For an optimiser: A and B at `learning_rate`, the weights of K at `middle_factor` times that."""
        outer = [p for layer in self.layers.values() for p in (layer.down, layer.up)]
        middle = [layer.middle for layer in self.layers.values()]
        return [
            {"params": outer, "lr": learning_rate},
            {"params": middle, "lr": learning_rate * middle_factor},
        ]

    def singular_times(self) -> dict[str, Tensor]:
        """The t at which K(t) of each layer is singular (forms.singular_times); UserError unless t_dim is 1."""
        if self.spec.t_dim != 1:
            raise UserError(f"singular times are points of a line, but t_dim is {self.spec.t_dim}")
        one = torch.ones(1)
        return {
            name: forms.singular_times(self.spec, layer.middle, one) for name, layer in self.layers.items()
        }
