"""The frozen image encoder of a LoRWeB, and the embedding of an analogy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from pipeline.backbones import DigitsCnn, make_backbone
from pipeline.config import HUB, MINI_ENCODER, AnalogySpec, TPredictorSettings
from pipeline.core.errors import UserError
from pipeline.core.tensor_files import refuse_non_finite
from pipeline.data.image_files import pixels

FIELD = "adapter.analogy.encoder"
BATCH_SIZE = 256
"""Images that are embedded together."""

TRANSFORMERS_TYPES = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")
"""The `model_type`s of transformers that can be an encoder."""


@dataclass(frozen=True)
class ImageEncoder:
    """A frozen image encoder.

    Attributes:
        features: Maps images uint8 [n, size, size, 3] to features float [n, width].
        width: Width of the features.
        size: Side of the images in pixels.
    """

    features: Callable[[np.ndarray], Tensor]
    width: int
    size: int

    @torch.inference_mode()
    def embed(self, images: np.ndarray) -> Tensor:
        """Return embeddings of length 1, float32 [n, width].

        Args:
            images: uint8 [n, H, W, 3] of any size, or the paths of image files. Images of another size than
                the encoder's are resized bicubically.
        """
        parts = [
            self.features(_resized(images[start : start + BATCH_SIZE], self.size))
            for start in range(0, len(images), BATCH_SIZE)
        ]
        return F.normalize(torch.cat(parts).float(), dim=1).clone()


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    batch = pixels(images, size)
    if batch.shape[1:3] == (size, size):
        return batch
    x = torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
    return x.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def analogy(a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor:
    """Return the embedding [..., 3 width] of a : a' :: b : ?, from embeddings [..., width] of its images."""
    return torch.cat([a, a_prime, b.expand_as(a)], dim=-1)


def load_encoder(spec: AnalogySpec) -> ImageEncoder:
    """Load the encoder that `spec` names.

    Raises:
        UserError: It does not exist, cannot be loaded, or is no image encoder.
    """
    if "/" in spec.encoder:
        return _load_from_transformers(spec)
    return _load_mini() if spec.encoder == "mini" else _load_from_timm(spec)


def encoder_width(spec: AnalogySpec) -> int:
    """Return the width of the encoder's embeddings, without loading its weights."""
    if "/" in spec.encoder:
        return _vision_config(spec).hidden_size
    if spec.encoder == "mini":
        return DigitsCnn.num_features
    return _timm_width(spec.encoder)


def _timm_width(name: str) -> int:
    """Return the width of a timm model's output, from a pass without weights.

    `num_features` is not read because some models have another output width.
    """
    import timm

    try:
        with torch.device("meta"):
            network: Any = timm.create_model(name, num_classes=0).eval()
            return network(torch.empty(1, *network.default_cfg["input_size"])).shape[-1]
    except RuntimeError as error:
        raise UserError(
            f"{FIELD}: there is no {name!r}; expected mini, a model of timm, or OWNER/NAME or a folder of a "
            "CLIP or SigLIP of transformers"
        ) from error


def _load_mini() -> ImageEncoder:
    """Load mini's encoder, the standardised features of a digits_cnn (see diffusion/mini/encoder.py)."""
    tensors = load_file(MINI_ENCODER)
    mean, deviation = tensors.pop("mean"), tensors.pop("deviation")
    network = DigitsCnn().requires_grad_(False).eval()
    network.load_state_dict(tensors)
    normalised = _normalisation(network.normalisation)
    return ImageEncoder(lambda x: (network(normalised(x)) - mean) / deviation, len(mean), network.image_size)


def _load_from_timm(spec: AnalogySpec) -> ImageEncoder:
    """Load a timm model with the hub's weights."""
    settings = TPredictorSettings(backbone=spec.encoder, pretrained=HUB)  # make_backbone takes such settings
    network: Any = make_backbone(settings, FIELD).requires_grad_(False).eval()
    size, normalised = network.default_cfg["input_size"][-1], _normalisation(network.normalisation)
    return ImageEncoder(lambda x: network(normalised(x)), encoder_width(spec), size)


def _normalisation(statistics: tuple[Sequence[float], Sequence[float]]) -> Callable[[np.ndarray], Tensor]:
    """Return a map from uint8 [n, H, W, 3] to float [n, 3, H, W], normalised by means and deviations."""
    mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in statistics)
    return lambda images: (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / deviation


def _vision_config(spec: AnalogySpec) -> Any:
    """Return the configuration of the vision tower of a CLIP or SigLIP of transformers."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(spec.encoder, revision=spec.encoder_revision)
    except (OSError, ValueError) as error:
        raise UserError(f"{FIELD} {spec.encoder!r} can't be loaded: {str(error).splitlines()[0]}") from error
    if config.model_type not in TRANSFORMERS_TYPES:
        raise UserError(f"{FIELD} {spec.encoder!r} is a {config.model_type}; expected a CLIP or a SigLIP")
    return getattr(config, "vision_config", config)


def _load_from_transformers(spec: AnalogySpec) -> ImageEncoder:
    """Load the vision tower of a CLIP or a SigLIP. Its features are the pooled output."""
    from transformers import AutoImageProcessor, CLIPVisionModel, SiglipVisionModel

    config = _vision_config(spec)
    kind: Any = SiglipVisionModel if config.model_type.startswith("siglip") else CLIPVisionModel
    try:
        processor = AutoImageProcessor.from_pretrained(spec.encoder, revision=spec.encoder_revision)
        network = kind.from_pretrained(spec.encoder, revision=spec.encoder_revision, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{FIELD} {spec.encoder!r} can't be loaded: {str(error).splitlines()[0]}") from error
    refuse_non_finite(f"{FIELD}: {spec.encoder}", network.state_dict())
    network.requires_grad_(False).eval()

    def features(images: np.ndarray) -> Tensor:
        return network(processor(images=list(images), return_tensors="pt")["pixel_values"]).pooler_output

    return ImageEncoder(features, config.hidden_size, config.image_size)
