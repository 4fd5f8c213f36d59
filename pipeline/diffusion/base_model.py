"""A base model: any diffusers text-to-image pipeline with a UNet, reduced to what stages one and two need."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import BaseModelSpec, Precision
from pipeline.core.compiling import compile_network
from pipeline.core.errors import UserError
from pipeline.data.image_files import pixels
from pipeline.diffusion.loading import DTYPES, load_pipeline
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings

VAE_BATCH = 64
"""The most images that go through the VAE at once. Large images are fewer, down to one of 1,024 px."""


def default_device() -> torch.device:
    """Return the GPU of this process, or the CPU if it has none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class BaseModel:
    """The parts of a pipeline shaped like Stable Diffusion 1.5 (one text encoder) or XL (two).

    Images are uint8 [n, H, W, 3]. Latents are float32 [n, c, h, w], scaled to about unit variance.

    Attributes:
        pipe: The diffusers pipeline.
        denoiser: Its UNet.
        alpha_bar: Cumulative products of the noise schedule, [T], on the CPU.
        prediction: What the denoiser predicts: epsilon or v_prediction.
        resolution: Side of an image in pixels.
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
        """Load `spec`, frozen, with weights of `precision`, onto `device` (default: the GPU, if any).

        Raises:
            UserError: The model cannot be loaded, or `precision` is fp16 and the device a CPU.
        """
        device = device or default_device()
        if precision == "fp16" and device.type == "cpu":
            raise UserError("precision: fp16 needs a GPU, and there is none here; use bf16 or fp32")
        return cls.wrap(load_pipeline(spec, DTYPES[precision]), spec.resolution, device)

    @classmethod
    def wrap(cls, pipe: Any, resolution: int, device: torch.device | None = None) -> "BaseModel":
        """Return the base model of a pipeline in memory.

        A VAE that overflows in half precision stays in float32.

        Raises:
            UserError: The pipeline has other parts, or its denoiser other inputs, than a Stable Diffusion.
        """
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
        # Channels last makes convolutions on a CPU a sixth faster.
        unet.to(device).to(memory_format=torch.channels_last)
        vae.to(device, torch.float32 if vae.config.force_upcast else vae.dtype)
        if device.type == "cuda":  # on a CPU, images would have other last digits
            vae.to(memory_format=torch.channels_last)
        config = pipe.scheduler.config
        return cls(pipe, unet, pipe.scheduler.alphas_cumprod.float(), config.prediction_type, resolution)

    def compile(self, field: str) -> None:
        """Compile the denoiser, with the adapter on it, in place (see `compile_network`)."""
        compile_network(self.denoiser, self.device, field)

    @property
    def device(self) -> torch.device:
        """The device of the denoiser and the VAE."""
        return self.pipe.vae.device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The shape [c, h, w] of the latents of one image."""
        size = self.resolution // 2 ** (len(self.pipe.vae.config.block_out_channels) - 1)
        return self.pipe.unet.config.in_channels, size, size

    @torch.inference_mode()
    def embed(self, prompts: list[str]) -> PromptEmbeddings:
        """Return the embeddings of prompts.

        The text encoders are on the device only meanwhile: prompts are few and embedded once. An SDXL is
        told, in fine-tuning as in sampling, that every image is uncropped and has the model's resolution.
        """
        if not hasattr(self.pipe, "text_encoder_2"):
            return PromptEmbeddings(self._encode_text(prompts, 0)[0].clone())
        first, second = (self._encode_text(prompts, index, output_hidden_states=True) for index in (0, 1))
        sizes = torch.tensor([[self.resolution, self.resolution, 0, 0, self.resolution, self.resolution]])
        return PromptEmbeddings(
            torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
            second.text_embeds,
            sizes.float().repeat(len(prompts), 1).to(self.device),
        )

    def _encode_text(self, prompts: list[str], index: int, **options: bool) -> Any:
        """Return the output of the first (0) or second (1) text encoder."""
        tokenizer, encoder = _tokenizers(self.pipe)[index], _text_encoders(self.pipe)[index]
        tokens = tokenizer(
            prompts,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        encoder.to(self.device)
        output = encoder(tokens.input_ids.to(self.device), **options)
        encoder.to("cpu")
        return output

    def _vae_batch_size(self) -> int:
        """Return how many images go through the VAE at once. One of 1,024 px takes gigabytes."""
        return max(1, min(VAE_BATCH, 4 * 512**2 // self.resolution**2))

    @torch.inference_mode()
    def encode(self, images: np.ndarray) -> Tensor:
        """Return the latents of images.

        A latent is the mean of the VAE's posterior, so that an image has exactly one.

        Args:
            images: uint8 [n, H, W, 3] of any size, or the paths of image files.
        """
        parts, size = [], (self.resolution, self.resolution)
        for start in range(0, len(images), self._vae_batch_size()):
            x = _channels_first(pixels(images[start : start + self._vae_batch_size()], self.resolution))
            if x.shape[-2:] != size:
                x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 255)
            parts.append(self._to_latents(x))
        return torch.cat(parts).clone()

    @torch.inference_mode()
    def encode_unresized(self, images: np.ndarray) -> Tensor:
        """Return the latents [n, c, h, w] of images uint8 [n, H, W, 3], whose size is not changed.

        Height and width of the latents are rounded down.
        """
        parts = _channels_first(images).split(self._vae_batch_size())
        return torch.cat([self._to_latents(part) for part in parts]).clone()

    @torch.inference_mode()
    def encode_sample(self, images: np.ndarray, generator: torch.Generator) -> Tensor:
        """Return latents of images uint8 [n, H, W, 3], sampled from the VAE's posterior.

        The size of the images is not changed. The noise is drawn on the CPU, so that a seed gives the same
        latents on every device.
        """
        parts = [self._posterior(part) for part in _channels_first(images).split(self._vae_batch_size())]
        mean, deviation = (torch.cat([getattr(p, name) for p in parts]).float() for name in ("mean", "std"))
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return ((mean + deviation * noise) * self.pipe.vae.config.scaling_factor).clone()

    def _to_latents(self, x: Tensor) -> Tensor:
        """Return the latents of images [n, 3, H, W] with values from 0 to 255."""
        return self._posterior(x).mode().float() * self.pipe.vae.config.scaling_factor

    def _posterior(self, x: Tensor) -> Any:
        """Return the VAE's posterior, unscaled, for images [n, 3, H, W] with values from 0 to 255."""
        vae = self.pipe.vae
        return vae.encode((x / 127.5 - 1).to(vae.device, vae.dtype)).latent_dist

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Return the images uint8 [n, H, W, 3] of latents."""
        vae = self.pipe.vae
        scaled = (latents / vae.config.scaling_factor).to(vae.dtype)
        parts = [vae.decode(part).sample.float().cpu() for part in scaled.split(self._vae_batch_size())]
        x = ((torch.cat(parts) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return x.permute(0, 2, 3, 1).contiguous().numpy()

    @cached_property
    def noise_schedule(self) -> Any:
        """A scheduler of diffusers with this model's `alpha_bar`, for its formulas of noising.

        The pipeline's own scheduler may define them otherwise: an Euler scheduler takes sigmas. The schedule
        `alphas_cumprod` is on the device of the latents that it noised last, which then waits for no copy.
        """
        from diffusers import DDPMScheduler

        scheduler: Any = DDPMScheduler(num_train_timesteps=len(self.alpha_bar))
        scheduler.alphas_cumprod = self.alpha_bar
        return scheduler

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return noisy latents a clean + s noise, with a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar).

        Args:
            clean: Latents [n, c, h, w].
            noise: Standard normal noise of the same shape.
            timesteps: [n], or [1] for all latents.
        """
        return self.noise_schedule.add_noise(clean, noise, timesteps)

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the denoiser should output for `add_noise(clean, noise, timesteps)`: noise, or v."""
        if self.prediction == "epsilon":
            return noise
        return self.noise_schedule.get_velocity(clean, noise, timesteps)

    def split(self, output: Tensor, latents: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        """Return (clean latents, noise) from the denoiser's output, whatever it was trained to predict.

        With a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar), noisy latents are a x0 + s eps, and
        v = a eps - s x0 (Salimans and Ho, ICLR 2022).

        Args:
            output: The denoiser's output [n, c, h, w].
            latents: The noisy latents [n, c, h, w] that it was given.
            alpha_bar: Their noise level; broadcasts against `latents`.
        """
        a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        if self.prediction == "epsilon":
            return (latents - s * output) / a, output
        if self.prediction == "v_prediction":
            return a * latents - s * output, s * latents + a * output
        raise UserError(
            f"base_model: its scheduler predicts {self.prediction!r}; expected epsilon or v_prediction"
        )


def _text_encoders(pipe: Any) -> list[nn.Module]:
    return [getattr(pipe, name) for name in ("text_encoder", "text_encoder_2") if hasattr(pipe, name)]


def _tokenizers(pipe: Any) -> list[Any]:
    return [getattr(pipe, name) for name in ("tokenizer", "tokenizer_2") if hasattr(pipe, name)]


def _channels_first(images: np.ndarray) -> Tensor:
    """Return images uint8 [n, H, W, 3] as float32 [n, 3, H, W], with values from 0 to 255."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
