"""The network that predicts t: a backbone and a linear head."""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.backbones import make_backbone
from pipeline.core.errors import UserError
from pipeline.core.seeds import derive
from pipeline.data.image_files import pixels
from pipeline.planning.kinds.t_predictor import TPredictorParams

BATCH = 256
"""Images that are predicted at a time."""


class Predictor(nn.Module):
    """Images to t, float32 [n, t_dim]."""

    def __init__(self, backbone: nn.Module, t_dim: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.backbone, self.head = backbone, nn.Linear(backbone.num_features, t_dim)
        mean, std = backbone.normalisation
        self.register_buffer("centre", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("spread", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 [n, H, W, 3]."""
        pixels = images.to(self.centre.device).permute(0, 3, 1, 2).float()
        return self.head(self.backbone((pixels - self.centre) / self.spread))

    def read(self, images: np.ndarray) -> Tensor:
        """Images, or the paths of their files, as `forward` takes them."""
        return torch.from_numpy(pixels(images, self.image_size))

    @torch.inference_mode()
    def predict(self, images: np.ndarray) -> np.ndarray:
        """The t of images, or of files, as float32 [N, t_dim]; in evaluation mode, where it is left."""
        self.eval()
        parts = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return torch.cat([self(self.read(part)).cpu() for part in parts]).numpy()


def make_predictor(params: TPredictorParams) -> Predictor:
    """The network before its first step, its new weights drawn from the seed; UserError as of make_backbone."""
    settings = params.settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(settings.seed, "t_predictor network"))
        backbone = make_backbone(settings, "t_predictor")
        predictor = Predictor(backbone, params.t_dim, params.image_size)
    if backbone.image_size not in (None, params.image_size):
        raise UserError(
            f"t_predictor.backbone: {settings.backbone} takes images of {backbone.image_size} pixels alone, not the "
            f"{params.image_size} of the dataset; name another one"
        )
    return predictor.to("cuda" if torch.cuda.is_available() else "cpu")
