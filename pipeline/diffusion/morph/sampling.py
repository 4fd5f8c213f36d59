"""Makes a morph: tunes an adapter on both ends, takes them to noise, and paints the frames between."""

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
from pipeline.diffusion.generate.stage import start_noise
from pipeline.diffusion.morph.endpoints import End, EndsData, adapter_spec
from pipeline.diffusion.morph.interpolation import blended_prompts
from pipeline.diffusion.morph.method import Distances, Morph
from pipeline.diffusion.morph.methods import METHODS
from pipeline.diffusion.prompt_embeddings import denoise
from pipeline.diffusion.sampling import Levels, invert, sample


@dataclass(frozen=True)
class Made:
    """A morph: frames uint8 [n, H, W, 3], and their places [n], from 0 at X to 1 at Y."""

    frames: np.ndarray
    places: np.ndarray


class Painter:
    """Two ends in one model, with the adapter that was tuned on them, and any frame between."""

    def __init__(
        self, model: BaseModel, adapter: Adapter | None, morph: Morph, data: EndsData, progress: Progress
    ) -> None:
        """adapter: around the denoiser of `model`. progress: of the frames of each painting."""
        self.model, self.adapter, self.morph, self.settings = model, adapter, morph, morph.settings
        self.progress = progress
        self.prompts = data.prompts
        single = all(len(latents) == 1 for latents in data.latents)
        self.levels = Levels.make(model, self.settings.steps, self.settings.depth if single else 1.0)
        self.ends = self._inverted(torch.cat(data.latents)) if single else self._noise()

    def _noise(self) -> Tensor:
        """What styles and subjects both start from, [2, c, h, w]."""
        return start_noise(self.model, [derive(self.settings.seed, "morph")]).repeat(2, 1, 1, 1)

    def _inverted(self, latents: Tensor) -> Tensor:
        """X and Y, each taken towards noise with the weights and the prompt of its own end: [2, c, h, w]."""
        self._at(torch.tensor([0.0, 1.0]))

        def predict(noisy: Tensor, timestep: int) -> Tensor:
            return denoise(self.model.denoiser, noisy, timestep, self.prompts)

        return invert(self.model, predict, latents, self.levels, self.settings.refinements)

    def _at(self, places: Tensor) -> None:
        if self.adapter is not None:
            self.adapter.set_condition(places)

    def paint(self, places: np.ndarray) -> np.ndarray:
        """The frames at `places`, [n], from 0 to 1: uint8 [n, H, W, 3]."""
        s = torch.from_numpy(places).float()
        chunks = s[1:-1].split(self.settings.at_a_time - 2)
        parts = []
        for some in chunks:
            parts.append(self._batch(torch.cat([s[:1], some, s[-1:]])))
            self.progress(sum(len(part) - 2 for part in parts) + 2, len(places), "frames")
        inner = [part[1:-1] for part in parts]
        return self.model.decode(torch.cat([parts[0][:1], *inner, parts[-1][-1:]]))

    @torch.inference_mode()
    def _batch(self, places: Tensor) -> Tensor:
        """Latents [n, c, h, w] of a batch whose first and last frames are the ends."""
        self._at(places)
        prompts, most = blended_prompts(self.prompts, places.to(self.model.device)), self.levels.timesteps[-1]
        with self.morph.changed(self.model.denoiser, places) as at:

            def predict(noisy: Tensor, timestep: int) -> Tensor:
                at(timestep / most)
                return denoise(self.model.denoiser, noisy, timestep, prompts)

            return sample(self.model, predict, self.morph.starts(self.ends, places), self.levels)


def adapted(model: BaseModel, morph: Morph) -> tuple[BaseModel, Adapter | None]:
    """A copy of `model` with the adapter of `morph`, untuned, around its denoiser."""
    own = replace(model, denoiser=copy.deepcopy(model.denoiser))
    return own, morph.wrap(own.denoiser, adapter_spec(morph.settings), morph.settings.seed)


def tune(model: BaseModel, adapter: Adapter, data: EndsData, progress: Progress) -> list[list[float]]:
    """Fine-tune `adapter` on both ends. Returns the loss by step, and those of X and Y."""
    settings, log = data.settings, []
    tuner = Tuner(model, adapter, data, make_accelerator(settings))
    for step in range(settings.steps):
        log.append(tuner.step(step))
        progress(step + 1, settings.steps, f"tuning, loss {log[-1][0]:.3f}")
    return log


def make_morph(
    model: BaseModel,
    method: MorphMethod,
    ends: tuple[End, End],
    settings: MorphSettings,
    frames: int,
    distances: Distances,
    progress: Progress,
) -> Made:
    """`frames` frames from X to Y, at least two. `model` is left as it is."""
    morph = METHODS[method](settings, distances)
    own, adapter = adapted(model, morph)
    data = EndsData(own, settings, ends)
    if adapter is not None:
        tune(own, adapter, data, progress)
    painter = Painter(own, adapter, morph, data, progress)
    places, images = morph.frames(frames, painter.paint)
    return Made(images, places)
