"""Make a morph: fine-tune an adapter on both endpoints, invert them, and sample the frames between."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.config import MorphMethod, MorphSettings
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.stage import make_accelerator
from pipeline.diffusion.finetune.trainer import Tuner
from pipeline.diffusion.morph.endpoints import Endpoint, EndpointData, adapter_spec
from pipeline.diffusion.morph.interpolation import interpolate_prompts
from pipeline.diffusion.morph.method import Morph
from pipeline.diffusion.morph.methods import make_method
from pipeline.diffusion.prompt_embeddings import denoise
from pipeline.diffusion.sampling import Levels, invert, sample, start_noise
from pipeline.metrics.distances import Distances


def no_progress(done: int, total: int, what: str) -> None:
    """Report nothing: the progress of one morph among many."""


@dataclass(frozen=True)
class MorphFrames:
    """The frames of a morph.

    Attributes:
        frames: uint8 [n, H, W, 3].
        positions: [n], from 0 at X to 1 at Y.
    """

    frames: np.ndarray
    positions: np.ndarray


class FrameSampler:
    """Sample any frame between two endpoints that an adapter has learned.

    Args:
        model: The base model; its denoiser has the adapter around it.
        adapter: The adapter; None if the method learns none.
        morph: The morphing method.
        data: The endpoints as latents, and their prompts.
        progress: Called after each batch of frames.
    """

    def __init__(
        self,
        model: BaseModel,
        adapter: Adapter | None,
        morph: Morph,
        data: EndpointData,
        progress: Progress = no_progress,
    ) -> None:
        self.model, self.adapter, self.morph, self.settings = model, adapter, morph, morph.settings
        self.progress = progress
        self.prompts = data.prompts
        single = all(len(latents) == 1 for latents in data.latents)
        self.levels = Levels.make(model, self.settings.steps, self.settings.depth if single else 1.0)
        self.endpoints = self._inverted(torch.cat(data.latents)) if single else self._noise()

    def _noise(self) -> Tensor:
        """Draw the noise that both styles or subjects start from, [2, c, h, w]."""
        return start_noise(self.model, [derive(self.settings.seed, "morph")]).repeat(2, 1, 1, 1)

    def _inverted(self, latents: Tensor) -> Tensor:
        """Invert X and Y, each with the weights and the prompt of its own endpoint: [2, c, h, w]."""
        self._set_positions(torch.tensor([0.0, 1.0]))

        def predict(noisy: Tensor, timestep: int) -> Tensor:
            return denoise(self.model.denoiser, noisy, timestep, self.prompts)

        settings = self.settings
        return invert(
            self.model, predict, latents, self.levels, settings.refinements, settings.inversion_timestep
        )

    def _set_positions(self, positions: Tensor) -> None:
        if self.adapter is not None:
            self.adapter.set_condition(positions)

    def sample_frames(self, positions: np.ndarray) -> np.ndarray:
        """Sample the frames at `positions`, [n], increasing from 0 to 1: uint8 [n, H, W, 3]."""
        s = torch.from_numpy(positions).float()
        parts: list[Tensor] = []
        for between in s[1:-1].split(self.settings.at_a_time - 2):
            parts.append(self._batch(torch.cat([s[:1], between, s[-1:]])))
            self.progress(sum(len(part) - 2 for part in parts) + 2, len(positions), "frames")
        inner = [part[1:-1] for part in parts]
        return self.model.decode(torch.cat([parts[0][:1], *inner, parts[-1][-1:]]))

    @torch.inference_mode()
    def _batch(self, positions: Tensor) -> Tensor:
        """Sample the latents [n, c, h, w] of a batch whose first and last frames are the endpoints."""
        self._set_positions(positions)
        prompts = interpolate_prompts(self.prompts, positions.to(self.model.device))
        noisiest = self.levels.timesteps[-1]
        with self.morph.modified(self.model.denoiser, positions) as before_step:

            def predict(noisy: Tensor, timestep: int) -> Tensor:
                before_step(timestep / noisiest)
                return denoise(self.model.denoiser, noisy, timestep, prompts)

            return sample(self.model, predict, self.morph.starts(self.endpoints, positions), self.levels)


def with_adapter(model: BaseModel, morph: Morph) -> tuple[BaseModel, Adapter | None]:
    """Copy `model` and put the adapter of `morph`, not yet fine-tuned, around the copy's denoiser."""
    own = replace(model, denoiser=copy.deepcopy(model.denoiser))
    return own, morph.wrap(own.denoiser, adapter_spec(morph.settings), morph.settings.seed)


def tune(
    model: BaseModel, adapter: Adapter, data: EndpointData, progress: Progress = no_progress
) -> list[list[float]]:
    """Fine-tune `adapter` on both endpoints.

    Returns:
        The losses of each step: of the whole batch, of X and of Y.
    """
    settings = data.settings
    tuner = Tuner(model, adapter, data, make_accelerator(settings))
    for done in tuner.steps():
        progress(done, settings.steps, f"fine-tuning, loss {tuner.last_loss:.3f}")
    return [row[1:] for row in tuner.log]


def make_morph(
    model: BaseModel,
    method: MorphMethod,
    endpoints: tuple[Endpoint, Endpoint],
    settings: MorphSettings,
    frames: int,
    distances: Distances | None = None,
    progress: Progress = no_progress,
) -> MorphFrames:
    """Make a morph from X to Y.

    Args:
        model: The base model, which stays as it is.
        method: The morphing method.
        endpoints: X and Y.
        settings: Fine-tuning and sampling.
        frames: The number of frames with both endpoints, at least 2.
        distances: Measures neighbouring frames; DiffMorpher needs it.
        progress: Called after each step of fine-tuning and each batch of frames.
    """
    morph = make_method(method, settings, distances)
    own, adapter = with_adapter(model, morph)
    data = EndpointData(own, settings, endpoints)
    if adapter is not None:
        tune(own, adapter, data, progress)
    sampler = FrameSampler(own, adapter, morph, data, progress)
    positions, images = morph.frames(frames, sampler.sample_frames)
    return MorphFrames(images, positions)
