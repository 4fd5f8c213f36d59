"""LoRWeB on a whole denoiser: which layers it wraps, its analogy, merging."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.adapter import Adapter, Condition, layer_generator, matching_layers
from pipeline.diffusion.adapters.lorweb.encoder import encoder_width
from pipeline.diffusion.adapters.lorweb.layer import LorwebLayer, LorwebState
from pipeline.errors import UserError

PARTS = ("down", "up", "keys")
PROJECTION = "projection"
"""What the projection is called in a file; no layer of a denoiser is."""


class LorwebAdapter(Adapter):
    """Wraps, in place, the layers of `denoiser` that `spec` names, and freezes everything else.

    Its condition is an embedded analogy (encoder.py), [3 width], or one for each sample, [n, 3 width]. Of several pairs
    a : a' it is the mean, which makes the query the mean of their queries, for the projection is linear. Until one is
    set all is zero, and the mix by softmax is the mean of the basis.

    The authors project the embedding anew in every layer; here one projection serves all layers, which have keys of their
    own: for a denoiser as small as mini's, projections would be more than all of its LoRAs.

    UserError if no layer matches, or one that does can't be wrapped.
    """

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        self.spec = spec
        self.factor = spec.alpha / spec.rank
        self.layers: dict[str, LorwebLayer] = {}
        denoiser.requires_grad_(False)
        found = matching_layers(denoiser, spec)
        device = next(iter(found.values())).weight.device
        width = 3 * encoder_width(spec.analogy)
        self.state = LorwebState(torch.zeros(width), _projection(spec, width, seed).to(device), self.factor)
        for name, layer in found.items():
            wrapped = LorwebLayer(layer, spec, self.state, layer_generator(seed, name))
            parent, _, child = name.rpartition(".")
            setattr(denoiser.get_submodule(parent), child, wrapped)
            self.layers[name] = wrapped

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

    def set_scale(self, scale: float) -> None:
        """A factor on the update, on top of alpha / rank."""
        self.scale, self.state.scale = scale, scale * self.factor

    def merge(self, condition: Condition) -> None:
        """Put the LoRA of one analogy into the base weights."""
        self.unmerge()
        self.set_condition(condition)
        if self.state.analogy.ndim == 2:
            raise UserError(f"{len(self.state.analogy)} analogies were given, but weights are merged at one")
        for layer in self.layers.values():
            layer.merge()

    def unmerge(self) -> None:
        """Restore the base weights bit for bit."""
        for layer in self.layers.values():
            layer.unmerge()

    def _parameters(self) -> dict[str, nn.Parameter]:
        """By name."""
        of_layers = {
            f"{name}.{part}": getattr(layer, part) for name, layer in self.layers.items() for part in PARTS
        }
        projection = self.state.projection
        return of_layers | {f"{PROJECTION}.{part}": p for part, p in projection.named_parameters()}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Everything that learns."""
        yield from self._parameters().values()

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """For an optimiser: A and B at `learning_rate`; what decides the mix, keys and projection, at `middle_factor` times
        that. The authors have one rate and 10,000 steps; in hundreds, a mix at that rate stays where it began.
        """
        named = self._parameters().items()
        outer = [parameter for name, parameter in named if name.endswith((".down", ".up"))]
        mix = [parameter for name, parameter in named if not name.endswith((".down", ".up"))]
        return [
            {"params": outer, "lr": learning_rate},
            {"params": mix, "lr": learning_rate * middle_factor},
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The learned tensors by name: `<layer>.down`, `.up`, `.keys`, and `projection.weight` and `.bias`."""
        return {name: parameter.detach().contiguous() for name, parameter in self._parameters().items()}


def _projection(spec: AdapterSpec, width: int, seed: int) -> nn.Linear:
    """From three embeddings of length 1 to queries of mean square 1, drawn from `seed`."""
    made, generator = nn.Linear(width, spec.analogy.key_width), layer_generator(seed, PROJECTION)
    with torch.no_grad():
        made.weight.normal_(0, 3**-0.5, generator=generator)
        made.bias.zero_()
    return made
