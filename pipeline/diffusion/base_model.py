"""A base model: any diffusers text-to-image pipeline with a UNet, reduced to what stages one and two need of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import BaseModelSpec, Precision
from pipeline.core.errors import UserError
from pipeline.data.image_files import pixels
from pipeline.diffusion.loading import DTYPES, load_pipeline
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings

VAE_BATCH = 64
"""The most images that go through the VAE at once; of larger ones fewer, down to one of 1,024 px."""


def default_device() -> torch.device:
    """The GPU that this process has, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class BaseModel:
    """The parts of a Stable-Diffusion-shaped pipeline: 1.5's with one text encoder, or XL's with two.

    Images are uint8 [n, H, W, 3]; latents float32 [n, c, h, w], scaled to about unit variance. `alpha_bar` [T], on the
    CPU, holds the cumulative products of the noise schedule.
    """

    pipe: Any
    denoiser: nn.Module
    alpha_bar: Tensor
    prediction: str
    resolution: int

    @classmethod
    def load(
        cls, spec: BaseModelSpec, precision: Precision = "fp32", device: torch.device | None = None
    ) -> "BaseModel":
        """Load `spec`, frozen, with weights of `precision`, and move it to the GPU if there is one."""
        device = device or default_device()
        if precision == "fp16" and device.type == "cpu":
            raise UserError("precision: fp16 needs a GPU, and there is none here; use bf16 or fp32")
        return cls.wrap(load_pipeline(spec, DTYPES[precision]), spec.resolution, device)

    @classmethod
    def wrap(cls, pipe: Any, resolution: int, device: torch.device | None = None) -> "BaseModel":
        """The same from a pipeline in memory. A VAE that overflows in half precision is kept in float32."""
        if not all(getattr(pipe, part, None) is not None for part in ("unet", "vae", "text_encoder")):
            raise UserError(
                f"base_model: a {type(pipe).__name__} has not the parts of a Stable Diffusion pipeline"
            )
        unet, vae, device = pipe.unet, pipe.vae, device or default_device()
        known = (None, "text", "text_time")
        if (
            unet.config.in_channels != vae.config.latent_channels
            or unet.config.addition_embed_type not in known
        ):
            raise UserError(
                f"base_model: the denoiser of this {type(pipe).__name__} wants more than latents and prompts"
            )
        for part in (unet, vae, *_text_encoders(pipe)):
            part.requires_grad_(False).eval()
        # Convolutions on a CPU are a sixth faster with channels last.
        unet.to(device).to(memory_format=torch.channels_last)
        vae.to(device, torch.float32 if vae.config.force_upcast else vae.dtype)
        config = pipe.scheduler.config
        return cls(pipe, unet, pipe.scheduler.alphas_cumprod.float(), config.prediction_type, resolution)

    @property
    def device(self) -> torch.device:
        """Where the denoiser and the VAE are."""
        return self.pipe.vae.device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """[c, h, w] of an image at the model's resolution."""
        size = self.resolution // 2 ** (len(self.pipe.vae.config.block_out_channels) - 1)
        return self.denoiser.config.in_channels, size, size

    @torch.inference_mode()
    def embed(self, prompts: list[str]) -> PromptEmbeddings:
        """The conditions of prompts. Text encoders are on the device only here: prompts are few, and embedded once.

        To an SDXL every image is said to be whole and of the model's resolution, in fine-tuning as in sampling.
        """
        if not hasattr(self.pipe, "text_encoder_2"):
            return PromptEmbeddings(self._encoded(prompts, 0)[0].clone())
        first, second = (self._encoded(prompts, which, output_hidden_states=True) for which in (0, 1))
        sizes = torch.tensor([[self.resolution, self.resolution, 0, 0, self.resolution, self.resolution]])
        return PromptEmbeddings(
            torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
            second.text_embeds,
            sizes.float().repeat(len(prompts), 1).to(self.device),
        )

    def _encoded(self, prompts: list[str], which: int, **options: bool) -> Any:
        """What the text encoder `which` says of prompts."""
        tokenizer, encoder = _tokenizers(self.pipe)[which], _text_encoders(self.pipe)[which]
        tokens = tokenizer(
            prompts,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        encoder.to(self.device)
        found = encoder(tokens.input_ids.to(self.device), **options)
        encoder.to("cpu")
        return found

    def _at_once(self) -> int:
        """How many images go through the VAE together: one by one at 1,024 px, where one alone takes gigabytes."""
        return max(1, min(VAE_BATCH, 4 * 512**2 // self.resolution**2))

    @torch.inference_mode()
    def encode(self, images: np.ndarray) -> Tensor:
        """Images, or the paths of their files, as latents: the posterior's mean, so that an image has one latent."""
        parts, vae, size = [], self.pipe.vae, (self.resolution, self.resolution)
        for start in range(0, len(images), self._at_once()):
            some = pixels(images[start : start + self._at_once()], self.resolution)
            x = torch.from_numpy(np.ascontiguousarray(some)).permute(0, 3, 1, 2).float()
            if x.shape[-2:] != size:
                x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 255)
            x = (x / 127.5 - 1).to(vae.device, vae.dtype)
            parts.append(vae.encode(x).latent_dist.mode().float() * vae.config.scaling_factor)
        return torch.cat(parts).clone()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents as images."""
        vae = self.pipe.vae
        scaled = (latents / vae.config.scaling_factor).to(vae.dtype)
        parts = [vae.decode(some).sample.float().cpu() for some in scaled.split(self._at_once())]
        x = ((torch.cat(parts) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return x.permute(0, 2, 3, 1).contiguous().numpy()

    def split(self, output: Tensor, latents: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        """The denoiser's output as (clean latents, noise), whatever it was trained to predict.

        `alpha_bar` broadcasts against `latents`. With a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar), the noisy
        latents are a x0 + s eps, and v = a eps - s x0 (Salimans and Ho, 2022).
        """
        a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        if self.prediction == "epsilon":
            return (latents - s * output) / a, output
        if self.prediction == "v_prediction":
            return a * latents - s * output, s * latents + a * output
        raise UserError(
            f"base_model: its scheduler predicts {self.prediction!r}; expected epsilon or v_prediction"
        )

    def target(self, clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        """What the denoiser should output for a x0 + s eps: the noise, or v."""
        if self.prediction == "epsilon":
            return noise
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean


def _text_encoders(pipe: Any) -> list[nn.Module]:
    return [getattr(pipe, name) for name in ("text_encoder", "text_encoder_2") if hasattr(pipe, name)]


def _tokenizers(pipe: Any) -> list[Any]:
    return [getattr(pipe, name) for name in ("tokenizer", "tokenizer_2") if hasattr(pipe, name)]
