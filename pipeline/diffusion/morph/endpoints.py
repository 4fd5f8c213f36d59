"""The two endpoints of a morph, X and Y, and the batches from which an adapter learns them."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.config import AdapterSpec, FinetuneSettings, MorphSettings
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.prompt_embeddings import concatenate


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of a morph.

    Attributes:
        images: uint8 [n, H, W, 3], or object [n], paths of files. A single image is the first or last frame;
            several images show a style or a subject that the morph begins or ends with.
        prompt: The prompt of these images in fine-tuning and sampling.
    """

    images: np.ndarray
    prompt: str


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resize square images to uint8 [n, size, size, 3] by Lanczos' filter, unless they have that size."""
    if images.shape[1] == size:
        return images
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(image) for image in resized])


def adapter_spec(settings: MorphSettings) -> AdapterSpec:
    """Specify the Terra of a morph; its two LoRAs have the same rank and layers."""
    rank = settings.rank
    return AdapterSpec(
        rank=rank,
        alpha=rank,
        first_down=settings.first_down,
        layers=settings.layers,
        include=settings.include,
    )


def finetune_settings(settings: MorphSettings) -> FinetuneSettings:
    """Translate the settings of a morph into those of stage one."""
    return FinetuneSettings(
        steps=settings.tune_steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        middle_lr_factor=settings.middle_lr_factor,
        seed=settings.seed,
    )


class EndpointData(TuningData):
    """Batches with X at t = 0 and Y at t = 1, each with its own prompt.

    Both parts of a batch share their noise and timesteps.

    Args:
        model: Encodes the images and the prompts.
        settings: The settings of the morph.
        endpoints: X and Y.
    """

    parts = ("x", "y")

    def __init__(
        self, model: BaseModel, settings: MorphSettings, endpoints: tuple[Endpoint, Endpoint]
    ) -> None:
        self.settings, self.timesteps = finetune_settings(settings), len(model.alpha_bar)
        self.shown = [endpoint.prompt for endpoint in endpoints]
        self.prompts = model.embed(self.shown)
        self.latents = [model.encode(endpoint.images) for endpoint in endpoints]

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, X before Y."""
        n, generator = self.settings.batch_size, self._generator(step)
        chosen = [torch.randint(len(latents), (n,), generator=generator) for latents in self.latents]
        noise, timesteps = self._noise(self.latents[0].shape[1:], generator)
        return Batch(
            torch.cat([latents[rows] for latents, rows in zip(self.latents, chosen, strict=True)]),
            concatenate([self.prompts[[index]].expand(n) for index in (0, 1)]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([torch.zeros(n), torch.ones(n)]),
        )

    def conditions_to_show(self) -> Tensor:
        """Return the t of both endpoints, [2, 1]."""
        return torch.tensor([[0.0], [1.0]])
