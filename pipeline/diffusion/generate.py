"""Stage two: images from a fine-tuned model, every one on disk, with a manifest that says how it was made.

- `adapted`: source images, inverted at t = 0 and sampled again at t = 1; they keep their labels.
- `generated`: images of the target from noise at t = 1, a number for each class.
- `base`: the control, from noise by the base model without any adapter.
"""

import copy
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.config import GenerateParams, Guidance, prompt
from pipeline.data.domains import ImageSet, load_labelled
from pipeline.determinism import reproducible
from pipeline.diffusion.adapters.terra import TerraAdapter, saved_spec
from pipeline.diffusion.base import BaseModel
from pipeline.diffusion.sampling import Levels, adain, guided, invert, renoise, sample
from pipeline.seeds import derive
from pipeline.stage import Progress
from pipeline.store import write_atomic


@dataclass(frozen=True)
class Denoisers:
    """The denoiser with the adapter merged at t = 0 and at t = 1 (twice the same for the base model)."""

    at_source: nn.Module
    at_target: nn.Module

    @classmethod
    def make(cls, model: BaseModel, adapter: Path | None, scale: float) -> "Denoisers":
        """Merge the adapter saved at `adapter` once per t; with None, the base model as it is."""
        if adapter is None:
            return cls(model.denoiser, model.denoiser)
        merged = []
        for t in (0.0, 1.0):
            denoiser = copy.deepcopy(model.denoiser)
            terra = TerraAdapter(denoiser, saved_spec(adapter), seed=0)
            terra.load(adapter)
            terra.set_scale(scale)
            terra.merge(t)
            merged.append(denoiser)
        return cls(*merged)


def plan_images(params: GenerateParams, source: ImageSet | None) -> pd.DataFrame:
    """The manifest: one row per image to make, before any is made.

    Columns file, label, class, seed, t, prompt, source. Images of one class stand apart, so that a run that was cut
    short has some of every class.
    """
    if source is None:
        labels = np.tile(np.arange(len(params.words)), params.per_class or 0)
        names = [""] * len(labels)
    else:
        chosen = choose_balanced(source, params.per_class, params.seed)
        labels, names = source.labels[chosen], [source.names[i] for i in chosen]
    return pd.DataFrame(
        {
            "file": [f"images/{i:06d}.png" for i in range(len(labels))],
            "label": labels,
            "class": [params.words[label] for label in labels],
            "seed": [derive(params.seed, params.contents, i) for i in range(len(labels))],
            "t": "" if params.contents == "base" else 1.0,
            "prompt": [prompt(params.source_prompt, params.words[label]) for label in labels],
            "source": names,
        }
    )


def choose_balanced(source: ImageSet, per_class: int | None, seed: int) -> np.ndarray:
    """Indices of up to `per_class` images of every class (all with None), drawn once, classes taking turns."""
    order = np.random.default_rng(derive(seed, "choose")).permutation(len(source))
    turns = pd.Series(source.labels[order]).groupby(source.labels[order]).cumcount().to_numpy()
    keep = turns < per_class if per_class is not None else np.ones(len(order), bool)
    return order[keep][np.argsort(turns[keep], kind="stable")]


def start_noise(model: BaseModel, seeds: list[int]) -> Tensor:
    """Gaussian latents [n, c, h, w], each from its own seed, so that an image does not depend on its batch."""
    config, vae = model.denoiser.config, model.pipe.vae
    size = model.resolution // 2 ** (len(vae.config.block_out_channels) - 1)
    shape = (config.in_channels, size, size)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def make_batch(
    model: BaseModel,
    denoisers: Denoisers,
    params: GenerateParams,
    prompts: Tensor,
    empty: Tensor,
    seeds: list[int],
    source: np.ndarray | None,
) -> np.ndarray:
    """Images uint8 [n, H, W, 3] for prompts [n, L, D]; `source` [n, H, W, 3] is what to adapt, or None."""
    empty = empty.expand_as(prompts)
    predict = guided(params.guidance, denoisers.at_target, denoisers.at_source, prompts, empty)
    if source is None:
        return model.decode(
            sample(model, predict, start_noise(model, seeds), Levels.make(model, params.steps))
        )
    levels = Levels.make(model, params.steps, params.inversion.depth)
    upward = guided(Guidance(weight=1.0), denoisers.at_source, denoisers.at_source, prompts, empty)
    latents = invert(model, upward, model.encode(source), levels, params.inversion.refinements)
    noise = start_noise(model, seeds)
    if params.inversion.adain:
        latents = adain(latents, noise)
    latents = renoise(latents, noise, params.inversion.renoise)
    return model.decode(sample(model, predict, latents, levels))


def to_png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, 3] as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def run(params: GenerateParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv; batches whose images are all there already are not made again."""
    with reproducible(params.threads):
        source = (
            load_labelled(inputs["data"], params.pair.source, "train")
            if params.contents == "adapted"
            else None
        )
        manifest = plan_images(params, source)
        model = BaseModel.load(params.base_model)
        adapter = inputs["adapter"] / "adapter.safetensors" if "adapter" in inputs else None
        denoisers = Denoisers.make(model, adapter, params.scale)
        prompts = model.embed([prompt(params.source_prompt, word) for word in params.words])
        empty = model.embed([params.target_prompt])
        row_of = {} if source is None else {name: i for i, name in enumerate(source.names)}
        for start in range(0, len(manifest), params.batch_size):
            rows = manifest.iloc[start : start + params.batch_size]
            if not all((workspace / file).exists() for file in rows["file"]):
                chosen = None if source is None else source.images[[row_of[name] for name in rows["source"]]]
                labels, seeds = rows["label"].tolist(), rows["seed"].tolist()
                images = make_batch(model, denoisers, params, prompts[labels], empty, seeds, chosen)
                for file, image in zip(rows["file"], images, strict=True):
                    write_atomic(workspace / file, to_png(image))
            progress(start + len(rows), len(manifest), "images")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
