"""The frozen image encoder of a LoRWeB, and the embedding of an analogy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from pipeline.backbones import DigitsCnn, make_backbone
from pipeline.config import HUB, MINI_ENCODER, AnalogySpec, TPredictorSettings
from pipeline.core.errors import UserError
from pipeline.data.image_files import pixels

FIELD = "adapter.analogy.encoder"
AT_ONCE = 256
"""Images that are embedded together."""

FROM_TRANSFORMERS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")
"""The kinds of model that may be an encoder, as their configuration names them."""


@dataclass(frozen=True)
class ImageEncoder:
    """features: uint8 [n, size, size, 3] to float [n, width]."""

    features: Callable[[np.ndarray], Tensor]
    width: int
    size: int

    @torch.inference_mode()
    def embed(self, images: np.ndarray) -> Tensor:
        """Images uint8 [n, H, W, 3] of any size, or the paths of their files, as float32 [n, width] of length 1.

        Images of another size than the encoder's are resized bicubically, for the encoder alone.
        """
        parts = [
            self.features(_fitted(images[start : start + AT_ONCE], self.size))
            for start in range(0, len(images), AT_ONCE)
        ]
        return F.normalize(torch.cat(parts).float(), dim=1).clone()


def _fitted(images: np.ndarray, size: int) -> np.ndarray:
    some = pixels(images, size)
    if some.shape[1:3] == (size, size):
        return some
    x = torch.from_numpy(np.ascontiguousarray(some)).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
    return x.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def analogy(a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor:
    """The embedding of a : a' :: b : ?, [..., 3 width], from those of its images, [..., width] each."""
    return torch.cat([a, a_prime, b.expand_as(a)], dim=-1)


def load_encoder(spec: AnalogySpec) -> ImageEncoder:
    """The encoder that `spec` names; UserError if it can't be had, or is no image encoder."""
    if "/" in spec.encoder:
        return _from_transformers(spec)
    return _of_mini() if spec.encoder == "mini" else _from_timm(spec)


def encoder_width(spec: AnalogySpec) -> int:
    """Numbers of an embedding, for which weights need not be loaded."""
    if "/" in spec.encoder:
        return _vision_config(spec).hidden_size
    if spec.encoder == "mini":
        return DigitsCnn.num_features
    return _width_in_timm(spec.encoder)


def _width_in_timm(name: str) -> int:
    """By a pass without weights, for `num_features` is not what some models put out."""
    import timm

    try:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0).eval()
            return network(torch.empty(1, *network.default_cfg["input_size"])).shape[-1]
    except RuntimeError as error:
        raise UserError(
            f"{FIELD}: there is no {name!r}; expected mini, a model of timm, or OWNER/NAME or a folder of a CLIP or "
            "SigLIP of transformers"
        ) from error


def _of_mini() -> ImageEncoder:
    """Mini's own: the features that pipeline/diffusion/mini/encoder.py taught a digits_cnn, standardised."""
    held = load_file(MINI_ENCODER)
    mean, deviation = held.pop("mean"), held.pop("deviation")
    network = DigitsCnn().requires_grad_(False).eval()
    network.load_state_dict(held)
    normalised = _normalised(network.normalisation)
    return ImageEncoder(lambda x: (network(normalised(x)) - mean) / deviation, len(mean), network.image_size)


def _from_timm(spec: AnalogySpec) -> ImageEncoder:
    """One of timm's, with the weights of the hub."""
    settings = TPredictorSettings(
        backbone=spec.encoder, pretrained=HUB
    )  # what names a backbone and its weights
    network = make_backbone(settings, FIELD).requires_grad_(False).eval()
    size, normalised = network.default_cfg["input_size"][-1], _normalised(network.normalisation)
    return ImageEncoder(lambda x: network(normalised(x)), encoder_width(spec), size)


def _normalised(by: tuple[Sequence[float], Sequence[float]]) -> Callable[[np.ndarray], Tensor]:
    """Makes uint8 [n, H, W, 3] float [n, 3, H, W], normalised by means and deviations."""
    mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in by)
    return lambda images: (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / deviation


def _vision_config(spec: AnalogySpec):
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(spec.encoder, revision=spec.encoder_revision)
    except (OSError, ValueError) as error:
        raise UserError(f"{FIELD} {spec.encoder!r} can't be loaded: {str(error).splitlines()[0]}") from error
    if config.model_type not in FROM_TRANSFORMERS:
        raise UserError(f"{FIELD} {spec.encoder!r} is a {config.model_type}; expected a CLIP or a SigLIP")
    return getattr(config, "vision_config", config)


def _from_transformers(spec: AnalogySpec) -> ImageEncoder:
    """The vision tower of a CLIP or a SigLIP; of several positions, their pooled output."""
    from transformers import AutoImageProcessor, CLIPVisionModel, SiglipVisionModel

    config = _vision_config(spec)
    kind = SiglipVisionModel if config.model_type.startswith("siglip") else CLIPVisionModel
    try:
        processor = AutoImageProcessor.from_pretrained(spec.encoder, revision=spec.encoder_revision)
        network = kind.from_pretrained(spec.encoder, revision=spec.encoder_revision, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{FIELD} {spec.encoder!r} can't be loaded: {str(error).splitlines()[0]}") from error
    network.requires_grad_(False).eval()

    def features(images: np.ndarray) -> Tensor:
        return network(processor(images=list(images), return_tensors="pt")["pixel_values"]).pooler_output

    return ImageEncoder(features, config.hidden_size, config.image_size)
