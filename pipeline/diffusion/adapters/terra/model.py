"""Terra on a whole denoiser, new or started from a LoRA."""

import re
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import Condition, Factors, layer_generator
from pipeline.diffusion.adapters.file_shapes import PartShapes
from pipeline.diffusion.adapters.layers import LayeredAdapter
from pipeline.diffusion.adapters.lora.file import read_lora
from pipeline.diffusion.adapters.registry import register
from pipeline.diffusion.adapters.terra import forms
from pipeline.diffusion.adapters.terra.layer import TerraLayer, TerraState


@register("terra")
class TerraAdapter(LayeredAdapter[TerraLayer]):
    """A Terra, whose condition is its time t. It starts at t = 0.

    Raises:
        UserError: No layer matches `spec.include`, or one that matches cannot be adapted.
    """

    parts = ("down", "middle", "up")
    state: TerraState

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        super().__init__(spec)
        self.state = TerraState(t=torch.zeros(spec.t_dim), scale=self.factor)

        def adapted(name: str, base: nn.Linear | nn.Conv2d) -> TerraLayer:
            return TerraLayer(base, spec, self.state, len(self.layers), layer_generator(seed, name))

        self._wrap(denoiser, adapted)
        # Of the K(t) in the state: their t, and the versions of the weights that they were computed from.
        self._middles_of: tuple[Tensor, list[int]] | None = None
        denoiser.register_forward_pre_hook(self._update_middles)

    def _update_middles(self, *_: object) -> None:
        """Compute K(t) of all layers at once before a pass: one by one they cost as much as the layers.

        Without gradients, as in the steps of sampling, this is done once for the same t and weights. t and
        K(t) are small and stay in float32 under autocast.
        """
        layers = list(self.layers.values())
        if layers[0].merged or not forms.has_middle(self.spec):
            return
        if torch.is_grad_enabled() or layers[0].middle.is_inference():  # inference tensors have no versions
            current = None
        else:
            current = (self.state.t, [layer.middle._version for layer in layers])
            known = self._middles_of
            if known and current[0] is known[0] and current[1] == known[1]:
                return
        weights = torch.stack([layer.middle for layer in layers])
        with torch.autocast(weights.device.type, enabled=False):
            self.state.middles = forms.middle(self.spec, weights, self.state.t.to(weights)).unbind()
        self._middles_of = current

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
        """Create a Terra that at t = 0 equals a LoRA, with that LoRA's layers and rank.

        B is multiplied by the inverse of K(0). That is I for the linear and exponential forms, and the
        diagonal of sum_d a_d for the cosine form.

        Args:
            denoiser: A diffusers model without adapters.
            path: A LoRA file in any layout that diffusers reads.
            seed: Seed of the initial weights of K.
            form: Form of K(t).
            diagonal: Whether K(t) is diagonal.
            t_dim: Dimensions of t.

        Raises:
            UserError: The file does not fit `denoiser`, or its layers have different ranks.
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
        """Set the time t of the next batches: a number or [t_dim], or one per sample, [n] or [n, t_dim].

        Raises:
            UserError: `condition` has other dimensions than the adapter's t_dim.
        """
        self.state.t = forms.as_time(self.spec, condition)

    def remerge(self, condition: Condition) -> None:
        """Make the weights the base weights plus dW(t)."""
        for layer in self.layers.values():
            layer.merge(layer.delta(condition))

    def warn_at(self, condition: Condition) -> None:
        """Issue a SingularWarning if K(t) of a layer is singular."""
        weights = {name: layer.middle for name, layer in self.layers.items()}
        forms.warn_if_singular(self.spec, weights, forms.one_time(self.spec, condition, torch.float64))

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict[str, Any]]:
        """Return groups for an optimizer: A and B at `learning_rate`, K at `middle_factor` times that."""
        outer = [p for layer in self.layers.values() for p in (layer.down, layer.up)]
        middle = [layer.middle for layer in self.layers.values()]
        return [
            {"params": outer, "lr": learning_rate},
            {"params": middle, "lr": learning_rate * middle_factor},
        ]

    def singular_times(self) -> dict[str, Tensor]:
        """Return the t at which K(t) of each layer is singular (see forms.singular_times).

        Raises:
            UserError: t has several dimensions.
        """
        if self.spec.t_dim != 1:
            raise UserError(f"singular times are points of a line, but t_dim is {self.spec.t_dim}")
        direction = torch.ones(1)
        return {
            name: forms.singular_times(self.spec, layer.middle, direction)
            for name, layer in self.layers.items()
        }

    @classmethod
    def part_shapes(cls, spec: AdapterSpec) -> PartShapes:
        """Return the shapes of A, B and the weights of K(t)."""
        return super().part_shapes(spec) | {"middle": forms.weights_shape(spec)}

    @classmethod
    def check_exportable(cls, path: Path, t: list[float] | None) -> None:
        """Raise a UserError if `t` is None: a Terra is another LoRA at every t."""
        if t is None:
            raise UserError(
                f"{path} holds a Terra, which is another LoRA at every t; say which, such as --t 0.5"
            )

    @classmethod
    def lora_factors(
        cls,
        spec: AdapterSpec,
        tensors: dict[str, Tensor],
        condition: Condition | None = None,
        scale: float = 1.0,
    ) -> Factors:
        """Return the LoRA that a Terra is at the time `condition` (see Adapter.lora_factors).

        Issues a SingularWarning if K(t) of a layer is singular.

        Raises:
            UserError: `condition` is not one time with the adapter's dimensions.
        """
        weights = {k.removesuffix(".middle"): w for k, w in tensors.items() if k.endswith(".middle")}
        forms.warn_if_singular(spec, weights, forms.one_time(spec, _given(condition), torch.float64))
        return super().lora_factors(spec, tensors, condition, scale)

    @classmethod
    def _conditioned(
        cls,
        spec: AdapterSpec,
        tensors: dict[str, Tensor],
        name: str,
        up: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        """Return B K(t)."""
        weights = tensors[f"{name}.middle"]
        return up @ forms.matrix(spec, weights, forms.one_time(spec, _given(condition), weights.dtype))


def _given(condition: Condition | None) -> Condition:
    """Return a condition that is not None."""
    assert condition is not None, "a Terra depends on a time t"
    return condition
