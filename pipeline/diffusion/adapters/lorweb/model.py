"""LoRWeB on a whole denoiser: which layers it wraps, its analogy, merging."""

import torch
from torch import nn

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import Condition, layer_generator
from pipeline.diffusion.adapters.layers import LayeredAdapter
from pipeline.diffusion.adapters.lorweb.encoder import encoder_width
from pipeline.diffusion.adapters.lorweb.layer import LorwebLayer, LorwebState

PROJECTION = "projection"
"""What the projection is called in a file; no layer of a denoiser is."""


class LorwebAdapter(LayeredAdapter):
    """Wraps, in place, the layers of `denoiser` that `spec` names, and freezes everything else.

    Its condition is an embedded analogy (encoder.py), [3 width], or one for each sample, [n, 3 width]. Of several pairs
    a : a' it is the mean, which makes the query the mean of their queries, for the projection is linear. Until one is
    set all is zero, and the mix by softmax is the mean of the basis.

    The authors project the embedding anew in every layer; here one projection serves all layers, which have keys of their
    own: for a denoiser as small as mini's, projections would be more than all of its LoRAs.

    UserError if no layer matches, or one that does can't be wrapped.
    """

    parts = ("down", "up", "keys")
    layers: dict[str, LorwebLayer]

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        super().__init__(spec)
        device, width = next(denoiser.parameters()).device, 3 * encoder_width(spec.analogy)
        self.state = LorwebState(torch.zeros(width), _projection(spec, width, seed).to(device), self.factor)
        self._wrap(
            denoiser,
            lambda name, base: LorwebLayer(base, spec, self.state, layer_generator(seed, name)),
        )

    def set_condition(self, condition: Condition) -> None:
        """The analogy of the batches to come; UserError if it is none of this adapter's encoder."""
        given = torch.as_tensor(condition, dtype=torch.float32)
        width = self.state.projection.in_features
        if given.ndim not in (1, 2) or given.shape[-1] != width:
            raise UserError(
                f"a LoRWeB depends on an analogy, embedded as [{width}] or one for each sample; given was "
                f"{list(given.shape)}"
            )
        self.state.analogy = given[0] if given.ndim == 2 and len(given) == 1 else given

    def merge(self, condition: Condition) -> None:
        """Put the LoRA of one analogy into the base weights."""
        self.unmerge()
        self.set_condition(condition)
        if self.state.analogy.ndim == 2:
            raise UserError(f"{len(self.state.analogy)} analogies were given, but weights are merged at one")
        for layer in self.layers.values():
            layer.merge(layer.delta(layer.weights()))

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns: `<layer>.down`, `.up`, `.keys`, and `projection.weight` and `.bias`."""
        projection = self.state.projection
        return super().named_parameters() | {
            f"{PROJECTION}.{part}": p for part, p in projection.named_parameters()
        }

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """For an optimiser: A and B at `learning_rate`; what decides the mix, keys and projection, at `middle_factor` times
        that. The authors have one rate and 10,000 steps; in hundreds, a mix at that rate stays where it began.
        """
        named = self.named_parameters().items()
        outer = [parameter for name, parameter in named if name.endswith((".down", ".up"))]
        mix = [parameter for name, parameter in named if not name.endswith((".down", ".up"))]
        return [
            {"params": outer, "lr": learning_rate},
            {"params": mix, "lr": learning_rate * middle_factor},
        ]


def _projection(spec: AdapterSpec, width: int, seed: int) -> nn.Linear:
    """From three embeddings of length 1 to queries of mean square 1, drawn from `seed`."""
    made, generator = nn.Linear(width, spec.analogy.key_width), layer_generator(seed, PROJECTION)
    with torch.no_grad():
        made.weight.normal_(0, 3**-0.5, generator=generator)
        made.bias.zero_()
    return made
