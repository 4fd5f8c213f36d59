"""Low-rank adapters of a denoiser: Terra, LoRWeB, and the plain LoRA as their baseline.

Each adapter is a folder whose class is an `Adapter` and registers its type (see registry.py). To add one,
write such a folder, import its class below, and describe the type to suites in pipeline/config.
"""

from pathlib import Path

from torch import nn

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.core.store import Store
from pipeline.diffusion.adapters.adapter import FILE, Adapter, Condition, saved_class, saved_spec
from pipeline.diffusion.adapters.lora import LoraAdapter
from pipeline.diffusion.adapters.lorweb import LorwebAdapter
from pipeline.diffusion.adapters.registry import adapter_class, adapter_types, register
from pipeline.diffusion.adapters.terra import TerraAdapter

__all__ = [
    "FILE",
    "Adapter",
    "Condition",
    "LoraAdapter",
    "LorwebAdapter",
    "TerraAdapter",
    "adapter_class",
    "adapter_types",
    "find_adapter_file",
    "load_adapter",
    "make_adapter",
    "register",
    "saved_class",
    "saved_spec",
]


def make_adapter(denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter:
    """Wrap a new adapter around layers of `denoiser`, in place.

    Args:
        denoiser: The network to adapt. All of its own parameters are frozen.
        spec: The adapter's type, rank and layers.
        seed: Seed of the adapter's initial weights.

    Raises:
        UserError: No layer matches `spec.include`, or one that matches cannot be adapted.
    """
    return adapter_class(spec.type)(denoiser, spec, seed)


def find_adapter_file(name: str | Path, store: Path | None = None) -> Path:
    """Find the adapter's file that a file's path, an artifact's folder or a fine-tuning's key names.

    Args:
        name: The path of a file or folder, or a key.
        store: The folder of the store in which a key is looked up; None if `name` is no key.

    Raises:
        UserError: There is no such file.
    """
    path = Path(name)
    may_be_key = len(path.parts) == 1 and not path.exists()
    if store is not None and may_be_key and Store(store).has("finetune", str(name)):
        path = Store(store).path("finetune", str(name))
    file = path / FILE if path.is_dir() else path
    if file.is_file():
        return file
    if store is not None and may_be_key:
        raise UserError(
            f"adapter {name}: there is no such file or folder, and no finished fine-tuning of that key in "
            f"{store}"
        )
    raise UserError(f"there is no adapter {file}; give the folder of a fine-tuning's artifact, or its {FILE}")


def load_adapter(denoiser: nn.Module, path: Path) -> Adapter:
    """Load a saved adapter onto `denoiser`, in place. A stock diffusers pipeline can then be used as before.

    Example:
        adapter = load_adapter(pipe.unet, Path("artifacts/finetune/KEY"))
        adapter.set_condition(0.5)  # Terra's time t; may be changed between calls of `pipe`
        image = pipe("a seven").images[0]

    For a pipeline in half precision use `adapter.merge(0.5)` instead, which changes the weights themselves.

    Args:
        denoiser: The network on which the adapter was trained, such as `pipe.unet`.
        path: A file that `Adapter.save` wrote, or the artifact folder of a fine-tuning.

    Raises:
        UserError: There is no adapter at `path`, or it does not fit `denoiser`. The message names both sides.
    """
    file = find_adapter_file(path)
    adapter = saved_class(file)(denoiser, saved_spec(file), seed=0)
    adapter.load(file)
    return adapter
