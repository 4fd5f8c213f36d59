"""Stage two, for one picture: source images at several t, from the source domain at 0 to the target at 1 and beyond.

Each is made as an adapted image is (generate.py), but sampled at t instead of 1, and given latent statistics that go
from its own at t = 0 to those of a target image at 1.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline.config import FlowParams, prompt
from pipeline.data.domains import load_labelled, load_unlabelled
from pipeline.determinism import reproducible
from pipeline.diffusion.base import BaseModel
from pipeline.diffusion.generate import choose_balanced, images_named, merged, to_png
from pipeline.diffusion.sampling import Levels, adain, classifier_free, guided, invert, sample
from pipeline.seeds import derive
from pipeline.stage import Progress
from pipeline.store import write_atomic


@torch.inference_mode()
def run(params: FlowParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv (file, label, class, seed, t, prompt, source, style), t after t.

    inputs: `adapter`, a finetune artifact, and `data`, a prepare artifact; of the target no labels are read.
    """
    with reproducible(params.threads):
        source = load_labelled(inputs["data"], params.pair.source, "train")
        chosen = source.take(choose_balanced(source, None, params.seed)[: params.examples])
        model = BaseModel.load(params.base_model)
        adapter, words = inputs["adapter"] / "adapter.safetensors", params.pair.words
        prompts = model.embed([prompt(params.source_prompt, words[label]) for label in chosen.labels])
        empty = model.embed([params.target_prompt]).expand_as(prompts)
        levels = Levels.make(model, params.steps, params.inversion.depth)

        def inverted(images: np.ndarray, t: float, prompted: torch.Tensor) -> torch.Tensor:
            plain = classifier_free(merged(model, adapter, t, params.scale), prompted, empty, 1.0)
            return invert(model, plain, model.encode(images), levels, params.inversion.refinements)

        own = like = inverted(chosen.images, 0.0, prompts)
        styles = [""] * len(chosen)
        if params.inversion.statistics == "target":
            target = load_unlabelled(inputs["data"], params.pair.target, "train")
            drawn = np.random.default_rng(derive(params.seed, "style", "flow"))
            styles = [target.names[i] for i in drawn.integers(len(target), size=len(chosen))]
            like = adain(own, inverted(images_named(target, pd.Series(styles)), 1.0, empty))
        rows: list[dict[str, object]] = []
        for place, t in enumerate(params.times):
            share = min(max(t, 0.0), 1.0)
            at_t = merged(model, adapter, t, params.scale)
            share_of_class = params.guidance.content_scale
            content = (
                at_t if share_of_class == 1 else merged(model, adapter, t, params.scale * share_of_class)
            )
            predict = guided(params.guidance, at_t, content, prompts, empty)
            images = model.decode(sample(model, predict, own + share * (like - own), levels))
            for i, image in enumerate(images):
                file = f"images/{len(rows):06d}.png"
                write_atomic(workspace / file, to_png(image))
                label = int(chosen.labels[i])
                rows.append(
                    {"file": file, "label": label, "class": words[label], "seed": params.seed, "t": f"{t:g}",
                     "prompt": prompt(params.source_prompt, words[label]), "source": chosen.names[i],
                     "style": styles[i]}
                )  # fmt: skip
            progress(place + 1, len(params.times), "times")
        write_atomic(workspace / "manifest.csv", pd.DataFrame(rows).to_csv(index=False))
