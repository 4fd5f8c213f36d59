"""Export an adapter at one condition as a standard LoRA, from its file alone: no base model is loaded."""

import math
from pathlib import Path

from torch import Tensor

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.core.tensor_files import is_finite
from pipeline.diffusion.adapters import adapter_class, find_adapter_file, saved_class
from pipeline.diffusion.adapters.adapter import Condition, Factors, read_adapter
from pipeline.diffusion.adapters.lora.file import write_lora


def lora_factors(
    spec: AdapterSpec, tensors: dict[str, Tensor], condition: Condition | None, scale: float = 1.0
) -> Factors:
    """Return the LoRA that an adapter is at `condition` (see Adapter.lora_factors)."""
    return adapter_class(spec.type).lora_factors(spec, tensors, condition, scale)


def export_lora(
    source: str | Path, to: Path, t: list[float] | None, scale: float = 1.0, store: Path | None = None
) -> dict[str, object]:
    """Write the adapter at the time `t` as a LoRA file for diffusers.

    Args:
        source: An adapter's file, the artifact folder of a fine-tuning, or the key of a finished one.
        to: The file to write; its name ends in .safetensors.
        t: Terra's time, one number for each of its dimensions. None for a LoRA.
        scale: Factor on the update, on top of alpha / rank.
        store: The folder of the store in which a key is looked up; None if `source` is no key.

    Returns:
        A description of the file: its path, number of layers, rank, t, scale and the adapter's spec.

    Raises:
        UserError: There is no adapter at `source`, it needs another `t`, or `to` has another suffix.
    """
    path = find_adapter_file(source, store)
    if to.suffix != ".safetensors":
        raise UserError(
            f"--to {to}: expected a name that ends in .safetensors, which diffusers needs to read the file"
        )
    for option, number in [("scale", scale), *(("t", each) for each in t or [])]:
        if not math.isfinite(number):
            raise UserError(f"--{option} {number}: expected a finite number")
    spec, tensors = read_adapter(path)
    adapter = saved_class(path)
    adapter.check_exportable(path, t)
    factors = adapter.lora_factors(spec, tensors, t, scale)
    about = {"t": t, "scale": scale, "adapter": spec.model_dump() | {"type": adapter.saved_as or spec.type}}
    for name, (_, up) in factors.items():
        if not is_finite(up):
            raise UserError(
                f"{path}: at t = {t} and scale {scale} the LoRA of layer {name} overflows; choose a t nearer "
                "to 0, or a smaller scale"
            )
    write_lora(to, factors, about)
    rank = max(len(down) for down, _ in factors.values())
    return {"file": str(to), "layers": len(factors), "rank": rank, **about}
