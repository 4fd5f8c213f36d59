"""The network of a t-predictor: a backbone and a linear head."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.backbones import make_backbone
from pipeline.core.errors import UserError
from pipeline.core.seeds import derive
from pipeline.data.image_files import pixels
from pipeline.planning.kinds.t_predictor import TPredictorParams

BATCH_SIZE = 256
"""How many images are predicted together."""


class Predictor(nn.Module):
    """Predict t, float32 [n, t_dim], from images.

    Args:
        backbone: A network of `backbones.make_backbone`.
        t_dim: The number of dimensions of t.
        image_size: The side in pixels at which files are read.
        normalisation: Of the colours (see TPredictorSettings).
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        backbone: Any,
        t_dim: int,
        image_size: int,
        normalisation: Literal["backbone", "half"] = "backbone",
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.backbone, self.head = backbone, nn.Linear(backbone.num_features, t_dim)
        mean, std = ([0.5] * 3, [0.5] * 3) if normalisation == "half" else backbone.normalisation
        self.register_buffer("centre", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("spread", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Predict the t of images, uint8 [n, H, W, 3]."""
        scaled = images.to(self.centre.device).permute(0, 3, 1, 2).float()
        return self.head(self.backbone((scaled - self.centre) / self.spread))

    def read(self, images: np.ndarray) -> Tensor:
        """Convert images, uint8 [n, H, W, 3], or paths of files, object [n], to the input of `forward`."""
        return torch.from_numpy(pixels(images, self.image_size))

    @torch.inference_mode()
    def predict(self, images: np.ndarray) -> np.ndarray:
        """Predict the t of N images or files, float32 [N, t_dim]; leaves the network in evaluation mode."""
        self.eval()
        parts = (images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE))
        return torch.cat([self(self.read(part)).cpu() for part in parts]).numpy()


def make_predictor(params: TPredictorParams) -> Predictor:
    """Make the network before its first step; its new weights are drawn from the seed.

    Raises:
        UserError: The backbone does not exist, its weights cannot be loaded, or it takes images of another
            size only.
    """
    settings = params.settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(settings.seed, "t_predictor network"))
        backbone = make_backbone(settings, "t_predictor")
        predictor = Predictor(backbone, params.t_dim, params.image_size, settings.normalisation)
    if backbone.image_size not in (None, params.image_size):
        raise UserError(
            f"t_predictor.backbone: {settings.backbone} takes only images of {backbone.image_size} pixels, "
            f"not the {params.image_size} of the dataset; name another backbone"
        )
    return predictor.to("cuda" if torch.cuda.is_available() else "cpu")
