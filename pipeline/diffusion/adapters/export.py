"""An adapter at one t as a standard LoRA, from its file alone: no base model is loaded."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import Condition, read_adapter
from pipeline.diffusion.adapters.lora.file import Factors, write_lora
from pipeline.diffusion.adapters.lorweb.layer import mixing_weights
from pipeline.diffusion.adapters.lorweb.model import PROJECTION
from pipeline.diffusion.adapters.terra import forms

FILE = "adapter.safetensors"
"""What a fine-tuning calls the adapter in its artifact."""


@torch.no_grad()
def lora_factors(
    spec: AdapterSpec, tensors: dict[str, Tensor], condition: Condition | None, scale: float = 1.0
) -> Factors:
    """A and scale * alpha / rank * B K of every layer: the LoRA that a Terra is at t (or that a LoRA is, always), K = K(t),
    or that a LoRWeB is for an embedded analogy: K has the weights of the mix on its diagonal.

    SingularWarning if K(t) of a layer is singular there; UserError if t is not one point of the adapter's.
    """
    factors: Factors = {}
    if spec.type == "terra":
        middles = {k.removesuffix(".middle"): w for k, w in tensors.items() if k.endswith(".middle")}
        forms.warn_if_singular(spec, middles, forms.one_time(spec, condition, torch.float64))
    for name in sorted(key.removesuffix(".up") for key in tensors if key.endswith(".up")):
        up = scale * spec.alpha / spec.rank * tensors[f"{name}.up"].flatten(1)
        if spec.type == "terra":
            weights = tensors[f"{name}.middle"]
            point = forms.one_time(spec, condition, weights.dtype)
            up = up @ forms.matrix(spec, weights, point)
        if spec.type == "lorweb":
            query = F.linear(condition, tensors[f"{PROJECTION}.weight"], tensors[f"{PROJECTION}.bias"])
            mix = mixing_weights(spec.analogy, query, tensors[f"{name}.keys"])
            up = up * mix.repeat_interleave(spec.rank)
        factors[name] = tensors[f"{name}.down"], up
    return factors


def export_lora(source: Path, to: Path, t: list[float] | None, scale: float = 1.0) -> dict[str, object]:
    """Write the adapter of the file or artifact `source` at t as a LoRA to `to`, and return what was written.

    UserError if there is no adapter, if t is missing or not of its dimensions, or if `to` is no .safetensors file.
    """
    path = source / FILE if source.is_dir() else source
    if not path.is_file():
        raise UserError(f"there is no adapter {path}; give an artifact of a fine-tuning, or its {FILE}")
    if to.suffix != ".safetensors":
        raise UserError(
            f"--to {to}: expected a name that ends in .safetensors, by which diffusers knows the file"
        )
    spec, tensors = read_adapter(path)
    if spec.type == "lorweb":
        raise UserError(
            f"{path} holds a LoRWeB, which is another LoRA for every analogy: "
            "run_benchmark.py analogy --lora FILE writes that of one"
        )
    if spec.type == "terra" and t is None:
        raise UserError(f"{path} holds a Terra, which is another LoRA at every t: say which, such as --t 0.5")
    factors = lora_factors(spec, tensors, t, scale)
    about = {"t": t, "scale": scale, "adapter": spec.model_dump()}
    write_lora(to, factors, about)
    return {"file": str(to), "layers": len(factors), "rank": spec.rank, **about}
