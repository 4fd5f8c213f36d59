"""A trained classifier for other programs: a folder that timm loads, with the names of the classes.

timm's networks end in one linear layer. A network of that form is written whole. Of every other, timm loads
the backbone, and the layers after it are in a second file, with the lines of Python that join the two.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from pipeline.classify.prediction import Classifier
from pipeline.config import SMALL
from pipeline.core.errors import UserError
from pipeline.core.new_folder import new_folder
from pipeline.core.store import write_atomic
from pipeline.planning.kinds.train import TrainParams

HEAD = "head.safetensors"
"""The file of the layers after the backbone, where there are several."""

SILENT = nn.Identity, nn.Dropout
"""The layers that do nothing when classes are predicted."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: The folder.
        whole: Whether timm loads all of the classifier, and not the backbone alone.
    """

    folder: Path
    whole: bool


def export_classifier(classifier: Classifier, folder: Path) -> Exported:
    """Write a folder that `timm.create_model("local-dir:FOLDER")` loads.

    config.json names the architecture, the preparation of images and the classes; model.safetensors holds the
    weights; README.md says how to use them.

    Raises:
        UserError: The folder exists, or the network is one that timm does not have.
    """
    params, network = classifier.params, classifier.network.cpu()
    if params.settings.backbone == SMALL:
        raise UserError(f"backbone {SMALL} is not one of timm; use `predict`, which knows it")
    layers = _layers(network.bottleneck, params.method) + _layers(network.head, params.method)
    whole = len(layers) == 1 and isinstance(layers[0], nn.Linear)
    model = _timm_model(params, len(params.classes) if whole else 0)
    model.load_state_dict(network.backbone.state_dict(), strict=not whole)
    if whole:
        model.get_classifier().load_state_dict(layers[0].state_dict())
    _write(classifier, model, [] if whole else layers, folder)
    return Exported(folder, whole)


def _timm_model(params: TrainParams, classes: int) -> Any:
    """Timm's network with the classifier's backbone, which with 0 classes ends in features."""
    import timm

    sized: dict[str, Any] = {"img_size": params.image_size} if params.settings.resample_positions else {}
    return timm.create_model(params.settings.backbone, pretrained=False, num_classes=classes, **sized)


def _layers(module: nn.Module, method: str) -> list[nn.Module]:
    """The layers of a bottleneck or head in evaluation, with normalised weights as plain ones.

    Raises:
        UserError: A layer is of another kind than those of `nn` that the README can spell out.
    """
    if isinstance(module, nn.Sequential):
        return [layer for part in module for layer in _layers(part, method)]
    if isinstance(module, SILENT):
        return []
    if isinstance(module, nn.Linear):
        plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
        with torch.no_grad():
            plain.weight.copy_(module.weight)
            if module.bias is not None:
                plain.bias.copy_(module.bias)
        return [plain]
    if type(module) in (nn.BatchNorm1d, nn.ReLU):
        return [module]
    raise UserError(
        f"method {method} has a layer {type(module).__name__} of its own, which other programs do not have; "
        "use `predict`"
    )


def _spelt(layer: nn.Module) -> str:
    """The layer as a line of Python."""
    if isinstance(layer, nn.Linear):
        bias = "" if layer.bias is not None else ", bias=False"
        return f"torch.nn.Linear({layer.in_features}, {layer.out_features}{bias})"
    if isinstance(layer, nn.BatchNorm1d):
        return f"torch.nn.BatchNorm1d({layer.num_features})"
    return "torch.nn.ReLU()"


def _write(classifier: Classifier, model: Any, layers: list[nn.Module], folder: Path) -> None:
    """Write the files of `folder`."""
    from timm.models import save_for_hf

    params, inputs = classifier.params, classifier.inputs
    preparation = {
        "input_size": (3, inputs.size, inputs.size),
        "crop_pct": inputs.size / inputs.side,
        "crop_mode": "squash",
        "interpolation": params.settings.resample,
        "mean": tuple(inputs.mean),
        "std": tuple(inputs.std),
    }
    about = {"label_names": list(params.classes), "pretrained_cfg": preparation}
    with new_folder(folder) as new:
        save_for_hf(model, str(new), model_config=about, safe_serialization=True)
        if layers:
            weights = nn.Sequential(*layers).state_dict()
            write_atomic(new / HEAD, save({name: value.contiguous() for name, value in weights.items()}))
        write_atomic(new / "README.md", _readme(params, layers))


def _readme(params: TrainParams, layers: list[nn.Module]) -> str:
    """How the folder's files are used in Python."""
    sources = " and ".join(params.sources)
    lines = [
        f"# {params.method} on {params.dataset}, {sources} to {params.target}",
        "",
        f"A classifier of {len(params.classes)} classes with the backbone {params.settings.backbone},",
        f"trained by the method {params.method} with augmentation `{params.augmentation}` and seed",
        f"{params.seed}. The names of the classes are in config.json (`label_names`).",
        "",
        "```python",
        "import timm, torch",
    ]
    if layers:
        spelt = ", ".join(_spelt(layer) for layer in layers)
        lines += [
            "from safetensors.torch import load_file",
            "",
            'backbone = timm.create_model("local-dir:FOLDER", pretrained=True).eval()',
            f"head = torch.nn.Sequential({spelt}).eval()",
            f'head.load_state_dict(load_file("FOLDER/{HEAD}"))',
            "classifier = torch.nn.Sequential(backbone, head)",
        ]
    else:
        lines += ["", 'classifier = timm.create_model("local-dir:FOLDER", pretrained=True).eval()']
    lines += [
        "prepare = timm.data.create_transform(**timm.data.resolve_data_config({}, model=%s))"
        % ("backbone" if layers else "classifier"),
        "probabilities = classifier(prepare(image)[None]).softmax(dim=1)    # image: a PIL image in RGB",
        "```",
        "",
    ]
    return "\n".join(lines)
