"""A base model: any diffusers text-to-image folder, reduced to what stages one and two need of it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import BaseModelSpec, base_model_path
from pipeline.data.image_files import pixels
from pipeline.errors import UserError


@dataclass
class BaseModel:
    """The parts of a Stable-Diffusion-shaped pipeline.

    Images are uint8 [n, H, W, 3]; latents float32 [n, c, h, w], scaled to about unit variance; prompts are
    embedded to [n, length, width]. `alpha_bar` [T] holds the cumulative products of the noise schedule.
    """

    pipe: object
    denoiser: nn.Module
    alpha_bar: Tensor
    prediction: str
    resolution: int

    @classmethod
    def load(cls, spec: BaseModelSpec, resolution: int | None = None) -> "BaseModel":
        """Load `spec` by DiffusionPipeline.from_pretrained, safetensors only, frozen and in float32."""
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging
        from transformers.utils import logging as transformers_logging

        for library in (logging, transformers_logging):
            library.set_verbosity_error()
            library.disable_progress_bar()
        where = base_model_path(spec)
        is_folder = where != spec.name or spec.name.startswith(("/", "."))
        try:
            pipe = DiffusionPipeline.from_pretrained(
                where, use_safetensors=True, revision=None if is_folder else spec.revision
            )
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"base_model {spec.name!r} can't be loaded as a diffusers pipeline with safetensors: {reason}"
            ) from error
        return cls.wrap(pipe.to(torch.float32), resolution or spec.resolution)

    @classmethod
    def wrap(cls, pipe: object, resolution: int) -> "BaseModel":
        """The same from a pipeline in memory."""
        if not (hasattr(pipe, "unet") and hasattr(pipe, "text_encoder")) or hasattr(pipe, "text_encoder_2"):
            raise UserError(
                f"base_model: a {type(pipe).__name__} has not the parts of a Stable Diffusion pipeline"
            )
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            part.requires_grad_(False).eval()
        pipe.unet.to(memory_format=torch.channels_last)  # convolutions on a CPU are a sixth faster so
        scheduler = pipe.scheduler
        return cls(
            pipe, pipe.unet, scheduler.alphas_cumprod.float(), scheduler.config.prediction_type, resolution
        )

    @torch.inference_mode()
    def embed(self, prompts: list[str]) -> Tensor:
        """Prompts as [n, length, width]."""
        tokenizer = self.pipe.tokenizer
        tokens = tokenizer(
            prompts,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.pipe.text_encoder(tokens.input_ids)[0].clone()

    @torch.inference_mode()
    def encode(self, images: np.ndarray, batch: int = 64) -> Tensor:
        """Images, or the paths of their files, as latents: the posterior's mean, so that an image has one latent."""
        parts = []
        for start in range(0, len(images), batch):
            x = (
                torch.from_numpy(np.ascontiguousarray(pixels(images[start : start + batch], self.resolution)))
                .permute(0, 3, 1, 2)
                .float()
            )
            if x.shape[-1] != self.resolution or x.shape[-2] != self.resolution:
                x = F.interpolate(
                    x, (self.resolution, self.resolution), mode="bicubic", antialias=True
                ).clamp(0, 255)
            parts.append(
                self.pipe.vae.encode(x / 127.5 - 1).latent_dist.mode() * self.pipe.vae.config.scaling_factor
            )
        return torch.cat(parts).clone()

    @torch.inference_mode()
    def decode(self, latents: Tensor, batch: int = 64) -> np.ndarray:
        """Latents as images."""
        parts = [
            self.pipe.vae.decode(latents[start : start + batch] / self.pipe.vae.config.scaling_factor).sample
            for start in range(0, len(latents), batch)
        ]
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
