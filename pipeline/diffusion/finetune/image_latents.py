"""The latents of a set of images in stage one: encoded once, or anew whenever an image is drawn."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config import FinetuneSettings
from pipeline.data.image_files import random_square
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.latent_cache import cached_latents


class ImageLatents(ABC):
    """The latents of N images.

    Attributes:
        shape: The shape [c, h, w] of one of them.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Return N."""

    @abstractmethod
    def take(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents [n, c, h, w] of the images `rows` [n]; what is random comes from `generator`."""


class CachedLatents(ImageLatents):
    """The centre square of each image, encoded once to the mean of the VAE's posterior.

    Args:
        model: Encodes the images.
        images: uint8 [N, H, W, 3], or object [N], paths of files.
        folder: Where latents are kept.
        name: The name of the set in this folder.
    """

    def __init__(self, model: BaseModel, images: np.ndarray, folder: Path, name: str) -> None:
        self.latents = cached_latents(model, images, folder, name)
        self.shape = tuple(self.latents.shape[1:])

    def __len__(self) -> int:
        return len(self.latents)

    def take(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents of the images `rows`; nothing is random."""
        return self.latents[rows]


class FreshLatents(ImageLatents):
    """A random square of each image, encoded to a sample of the VAE's posterior whenever it is drawn.

    The square is as wide or as high as the image, as the authors of Terra crop.

    Args:
        model: Encodes the images.
        images: uint8 [N, H, W, 3], or object [N], paths of files.
    """

    def __init__(self, model: BaseModel, images: np.ndarray) -> None:
        self.model, self.images, self.shape = model, images, model.latent_shape

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return new latents of the images `rows`."""
        if not len(rows):  # a pooled batch may have none of a domain
            return torch.empty(0, *self.shape)
        places = torch.rand(len(rows), generator=generator).tolist()
        chosen = zip(rows.tolist(), places, strict=True)
        squares = [random_square(self.images[row], self.model.resolution, place) for row, place in chosen]
        return self.model.encode_sample(np.stack(squares), generator).cpu()


def image_latents(
    model: BaseModel, settings: FinetuneSettings, images: np.ndarray, folder: Path, name: str
) -> ImageLatents:
    """Return the latents of `images` as `settings.encoding` says."""
    if settings.encoding == "fresh":
        return FreshLatents(model, images)
    return CachedLatents(model, images, folder, name)
