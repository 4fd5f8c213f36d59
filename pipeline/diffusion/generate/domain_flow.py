"""Stage two, for one picture: source images at several t, from the source domain at 0 to the target at 1 and beyond.

Each is made as an adapted image is (generate.py), but sampled at t instead of 1. What else is done to adapted images
comes in with t as well: latent statistics go from the image's own to those of a target image, and predictions from those
without guidance to the guided ones. So at t = 0 the source comes back, and at t = 1 is what stage three is given.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled, load_unlabelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.merged_denoisers import merged
from pipeline.diffusion.generate.stage import choose_balanced, images_named, to_png
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings
from pipeline.diffusion.sampling import Levels, Predict, adain, classifier_free, guided, invert, sample
from pipeline.planning.kinds.flow import FlowParams


class Painter:
    """Makes the examples at any t. adapter: the file of a fine-tuned adapter; inputs: as of `run`."""

    def __init__(self, params: FlowParams, inputs: dict[str, Path], source: ImageSet) -> None:
        self.params, self.source = params, source
        self.adapter = inputs["adapter"] / "adapter.safetensors"
        self.model, words = BaseModel.load(params.base_model, params.precision), params.pair.words
        self.prompts = self.model.embed([prompt(params.source_prompt, words[i]) for i in source.labels])
        self.empty = self.model.embed([params.target_prompt]).expand(len(self.prompts))
        self.levels = Levels.make(self.model, params.steps, params.inversion.depth)
        self.own = self.like = self._inverted(source.images, 0.0, self.prompts)
        self.styles = [""] * len(source)
        if params.inversion.statistics == "target":
            target = load_unlabelled(inputs["data"], params.pair.target, "train")
            drawn = np.random.default_rng(derive(params.seed, "style", "flow"))
            self.styles = [target.names[i] for i in drawn.integers(len(target), size=len(source))]
            images = images_named(target, pd.Series(self.styles))
            self.like = adain(self.own, self._inverted(images, 1.0, self.empty))

    def _merged(self, t: float, share: float = 1.0) -> nn.Module:
        return merged(self.model, self.adapter, t, self.params.scale * share)

    def _inverted(self, images: np.ndarray, t: float, prompted: PromptEmbeddings) -> Tensor:
        plain = classifier_free(self._merged(t), prompted, self.empty, 1.0)
        return invert(
            self.model, plain, self.model.encode(images), self.levels, self.params.inversion.refinements
        )

    def paint(self, t: float) -> np.ndarray:
        """The examples at t: uint8 [n, H, W, 3]."""
        share, guidance, at_t = min(max(t, 0.0), 1.0), self.params.guidance, self._merged(t)
        content = at_t if guidance.content_scale == 1 else self._merged(t, guidance.content_scale)
        plain = classifier_free(at_t, self.prompts, self.empty, 1.0)
        full = guided(guidance, at_t, content, self.prompts, self.empty)
        start = self.own + share * (self.like - self.own)
        return self.model.decode(sample(self.model, between(plain, full, share), start, self.levels))

    def row(self, i: int, t: float) -> dict[str, object]:
        """What the manifest says of example `i` at t, but for its file."""
        label = int(self.source.labels[i])
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


def between(first: Predict, second: Predict, share: float) -> Predict:
    """The prediction that is `share` of the way from `first` to `second`; at both ends, no more than that one is asked."""
    if share in (0.0, 1.0):
        return second if share else first

    def predict(latents: Tensor, timestep: int) -> Tensor:
        return torch.lerp(first(latents, timestep), second(latents, timestep), share)

    return predict


@torch.inference_mode()
def run(params: FlowParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv (file, label, class, seed, t, prompt, source, style), t after t.

    inputs: `adapter`, a finetune artifact, and `data`, a prepare artifact; of the target no labels are read.
    """
    with reproducible(params.threads):
        source = load_labelled(inputs["data"], params.pair.source, "train")
        chosen = choose_balanced(source, None, params.seed)[: params.examples]
        painter = Painter(params, inputs, source.take(chosen))
        rows: list[dict[str, object]] = []
        for place, t in enumerate(params.times):
            for i, image in enumerate(painter.paint(t)):
                file = f"images/{len(rows):06d}.png"
                write_atomic(workspace / file, to_png(image))
                rows.append({"file": file} | painter.row(i, t))
            progress(place + 1, len(params.times), "times")
        write_atomic(workspace / "manifest.csv", pd.DataFrame(rows).to_csv(index=False))
