"""Stage two, for one figure: make source images at several t, from the source at 0 to the target at 1.

Each image is made as an adapted image is (stage.py), but sampled at t instead of 1. The other changes to
adapted images grow with t as well: latent statistics go from the image's own to those of a target image, and
predictions go from unguided to guided. At t = 0, therefore, the source image is reconstructed, and at t = 1
stage three's image appears.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled, load_unlabelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.image_writer import ImageWriter
from pipeline.diffusion.generate.images import choose_balanced, images_named, labels_of
from pipeline.diffusion.generate.merged_denoisers import SharedDenoiser
from pipeline.diffusion.prompt_embeddings import Denoiser, PromptEmbeddings
from pipeline.diffusion.sampling import (
    Levels,
    Predict,
    adain,
    classifier_free,
    guided,
    invert,
    negative_embeddings,
    sample,
)
from pipeline.planning.kinds.flow import FlowParams


class FlowSampler:
    """Sample the examples at any t.

    Args:
        params: The job's parameters.
        inputs: The inputs of `run`.
        source: The examples, with their labels.
    """

    def __init__(self, params: FlowParams, inputs: dict[str, Path], source: ImageSet) -> None:
        self.params, self.source, self.labels = params, source, labels_of(source)
        self.model, words = BaseModel.load(params.base_model, params.precision), params.pair.words
        self.prompts = self.model.embed([prompt(params.source_prompt, words[i]) for i in self.labels])
        self.negative = negative_embeddings(self.model, params).expand(len(self.prompts))
        self.shared = SharedDenoiser(self.model, inputs["adapter"] / "adapter.safetensors")
        if params.compile:
            self.model.compile("generate.compile")
        self.levels = Levels.of(self.model, params, params.inversion)
        self.own_start = self.target_start = self._inverted(source.images, 0.0, self.prompts)
        self.styles = [""] * len(source)
        if params.inversion.statistics == "target":
            target = load_unlabelled(inputs["data"], params.pair.target, "train")
            rng = np.random.default_rng(derive(params.seed, "style", "flow"))
            self.styles = [target.names[i] for i in rng.integers(len(target), size=len(source))]
            images = images_named(target, self.styles)
            target_prompts = self.model.embed([params.target_prompt]).expand(len(images))
            self.target_start = adain(self.own_start, self._inverted(images, 1.0, target_prompts))

    def _denoiser(self, t: float, share: float = 1.0) -> Denoiser:
        return self.shared.merged_at(t, self.params.scale * share)

    def _inverted(self, images: np.ndarray, t: float, prompts: PromptEmbeddings) -> Tensor:
        predict = classifier_free(self._denoiser(t), prompts, prompts, 1.0)
        inversion, latents = self.params.inversion, self.model.encode(images)
        return invert(self.model, predict, latents, self.levels, inversion.refinements, inversion.timestep)

    def sample_at(self, t: float) -> np.ndarray:
        """Sample the examples at t: uint8 [n, H, W, 3]."""
        share, guidance, at_t = min(max(t, 0.0), 1.0), self.params.guidance, self._denoiser(t)
        content = at_t if guidance.content_scale == 1 else self._denoiser(t, guidance.content_scale)
        unguided = classifier_free(at_t, self.prompts, self.negative, 1.0)
        fully_guided = guided(guidance, at_t, content, self.prompts, self.negative)
        predict = interpolate_predictions(unguided, fully_guided, share)
        start = self.own_start + share * (self.target_start - self.own_start)
        return self.model.decode(sample(self.model, predict, start, self.levels))

    def row(self, i: int, t: float) -> dict[str, object]:
        """Return the manifest's row of example `i` at t, without its file."""
        label = int(self.labels[i])
        word = self.params.pair.words[label]
        return {
            "label": label,
            "class": word,
            "seed": self.params.seed,
            "t": f"{t:g}",
            "prompt": prompt(self.params.source_prompt, word),
            "source": self.source.names[i],
            "style": self.styles[i],
        }


def interpolate_predictions(first: Predict, second: Predict, share: float) -> Predict:
    """Interpolate from `first` at share 0 to `second` at share 1; at 0 and 1 only one of them is computed."""
    if share in (0.0, 1.0):
        return second if share else first

    def predict(latents: Tensor, timestep: int) -> Tensor:
        return torch.lerp(first(latents, timestep), second(latents, timestep), share)

    return predict


@torch.inference_mode()
def run(params: FlowParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/* and manifest.csv (file, label, class, seed, t, prompt, source, style), t after t.

    Args:
        params: The job's parameters.
        inputs: `adapter`, a finetune artifact, and `data`, a prepare artifact. The target's labels are not
            read.
        workspace: Where the images are written.
        progress: Called after each t.
    """
    with reproducible(params.threads):
        source = load_labelled(inputs["data"], params.pair.source, "train")
        chosen = choose_balanced(source, None, params.seed)[: params.examples]
        sampler = FlowSampler(params, inputs, source.take(chosen))
        rows: list[dict[str, object]] = []
        with ImageWriter(workspace, params) as writer:
            for finished, t in enumerate(params.times, start=1):
                images = sampler.sample_at(t)
                files = [params.file(len(rows) + i) for i in range(len(images))]
                writer.write(files, images)
                rows += [{"file": file} | sampler.row(i, t) for i, file in enumerate(files)]
                progress(finished, len(params.times), "times")
        write_atomic(workspace / "manifest.csv", pd.DataFrame(rows).to_csv(index=False))
