"""LoRWeB on a whole denoiser."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.core.paths import PROGRAM
from pipeline.diffusion.adapters.adapter import Condition, layer_generator
from pipeline.diffusion.adapters.file_shapes import PROJECTION, PartShapes
from pipeline.diffusion.adapters.layers import LayeredAdapter
from pipeline.diffusion.adapters.lorweb.encoder import encoder_width
from pipeline.diffusion.adapters.lorweb.layer import LorwebLayer, LorwebState, analogy_spec, mixing_weights
from pipeline.diffusion.adapters.registry import register


@register("lorweb")
class LorwebAdapter(LayeredAdapter[LorwebLayer]):
    """A LoRWeB. Its condition is an embedded analogy: [3 width], or one per sample, [n, 3 width].

    With several pairs a : a' the condition is the mean of their embeddings. Because the projection is linear,
    the query is then the mean of their queries. Before a condition is set it is zero, and the softmax mix is
    the mean of the basis.

    The authors project the embedding in every layer anew. Here all layers share one projection and have their
    own keys, because for a denoiser as small as mini's the projections would outnumber all LoRAs.

    Raises:
        UserError: No layer matches `spec.include`, or one that matches cannot be adapted.
    """

    parts = ("down", "up", "keys")
    state: LorwebState

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        super().__init__(spec)
        device, width = next(denoiser.parameters()).device, 3 * encoder_width(analogy_spec(spec))
        self.state = LorwebState(torch.zeros(width), _projection(spec, width, seed).to(device), self.factor)
        self._wrap(
            denoiser,
            lambda name, base: LorwebLayer(base, spec, self.state, layer_generator(seed, name)),
        )

    def set_condition(self, condition: Condition) -> None:
        """Set the analogies of the next batches.

        Raises:
            UserError: The width is not the one of the adapter's encoder.
        """
        embedded = torch.as_tensor(condition, dtype=torch.float32)
        width = self.state.projection.in_features
        if embedded.ndim not in (1, 2) or embedded.shape[-1] != width:
            raise UserError(
                f"a LoRWeB depends on an analogy, embedded as [{width}] or one for each sample; given was "
                f"{list(embedded.shape)}"
            )
        self.state.analogy = embedded[0] if embedded.ndim == 2 and len(embedded) == 1 else embedded

    def remerge(self, condition: Condition) -> None:
        """Make the weights the base weights plus the LoRA of one analogy."""
        self.set_condition(condition)
        if self.state.analogy.ndim == 2:
            raise UserError(f"{len(self.state.analogy)} analogies were given, but weights are merged at one")
        for layer in self.layers.values():
            layer.merge(layer.delta(layer.weights()))

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return `<layer>.down`, `.up` and `.keys`, and `projection.weight` and `.bias`."""
        projection = self.state.projection
        return super().named_parameters() | {
            f"{PROJECTION}.{part}": p for part, p in projection.named_parameters()
        }

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict[str, Any]]:
        """Return groups for an optimizer: A and B at `learning_rate`, keys and projection at a multiple.

        The authors train everything at one rate for 10,000 steps. Within hundreds of steps at that rate the
        mixing weights hardly move, hence `middle_factor`.
        """
        named = self.named_parameters().items()
        outer = [parameter for name, parameter in named if name.endswith((".down", ".up"))]
        mixing = [parameter for name, parameter in named if not name.endswith((".down", ".up"))]
        return [
            {"params": outer, "lr": learning_rate},
            {"params": mixing, "lr": learning_rate * middle_factor},
        ]

    @classmethod
    def part_shapes(cls, spec: AdapterSpec) -> PartShapes:
        """Return the shapes of A, B and the keys, each of the whole basis."""
        analogy = analogy_spec(spec)
        return super().part_shapes(spec) | {"keys": (analogy.basis, analogy.key_width)}

    @classmethod
    def check_exportable(cls, path: Path, t: list[float] | None) -> None:
        """Raise a UserError: a LoRWeB has no time, and is one LoRA for one analogy only."""
        raise UserError(
            f"{path} holds a LoRWeB, which is another LoRA for every analogy; the command "
            f"`{PROGRAM} analogy --lora FILE` writes the LoRA of one analogy"
        )

    @classmethod
    def _conditioned(
        cls,
        spec: AdapterSpec,
        tensors: dict[str, Tensor],
        name: str,
        up: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        """Return B with the mixing weight of its basis LoRA on each column."""
        assert isinstance(condition, Tensor), "a LoRWeB depends on an embedded analogy"
        query = F.linear(condition, tensors[f"{PROJECTION}.weight"], tensors[f"{PROJECTION}.bias"])
        weights = mixing_weights(analogy_spec(spec), query, tensors[f"{name}.keys"])
        return up * weights.repeat_interleave(spec.rank)


def _projection(spec: AdapterSpec, width: int, seed: int) -> nn.Linear:
    """Draw the map from three embeddings of length 1 to queries of mean square 1."""
    projection = nn.Linear(width, analogy_spec(spec).key_width)
    with torch.no_grad():
        projection.weight.normal_(0, 3**-0.5, generator=layer_generator(seed, PROJECTION))
        projection.bias.zero_()
    return projection
