"""Stage two under uda: make images with a fine-tuned model, and a manifest that says how each was made.

- `adapted`: source images, inverted at t = 0 and sampled again at t = 1; they keep their labels.
- `generated`: images of the target, sampled from noise at t = 1, as many for each class.
- `base`: the control, sampled from noise by the base model without any adapter.

With a LoRWeB, an analogy of source images alone takes the place of t = 0, and the analogy source example :
target example :: image that of t = 1. If its context is a grid, no image is inverted: images are sampled from
noise beside that example.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from pipeline.config import PairParams, prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled, load_unlabelled
from pipeline.diffusion.adapters import saved_spec
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.batches import Batches
from pipeline.diffusion.generate.image_writer import ImageWriter
from pipeline.diffusion.generate.images import choose_balanced, images_named, labels_of, whole_images
from pipeline.diffusion.generate.in_context import predict_beside
from pipeline.diffusion.generate.manifest_analogies import draw_analogies
from pipeline.diffusion.generate.merged_denoisers import AnalogyDenoisers, Denoisers
from pipeline.diffusion.prompt_embeddings import Denoiser, PromptEmbeddings
from pipeline.diffusion.sampling import (
    Levels,
    adain,
    classifier_free,
    guided,
    invert,
    negative_embeddings,
    sample,
    start_noise,
)
from pipeline.planning.kinds.generate import GenerateParams


def plan_images(params: GenerateParams, source: ImageSet | None, style: ImageSet | None) -> pd.DataFrame:
    """List the images to make: the manifest, one row per image.

    Classes take turns, so that a job that was interrupted has images of every class.

    Args:
        params: The job's parameters.
        source: The images to adapt; None if images start from noise.
        style: The target images whose statistics the starting latents get; None if they get none.

    Returns:
        Columns file, label, class, seed, t, prompt, source, style.
    """
    if source is None:
        labels = np.tile(np.arange(len(params.words)), params.per_class or 0)
        names = [""] * len(labels)
    else:
        chosen = choose_balanced(source, params.per_class, params.seed)
        labels, names = labels_of(source)[chosen], [source.names[i] for i in chosen]
    styles = [""] * len(labels)
    if style is not None:
        rng = np.random.default_rng(derive(params.seed, "style", params.contents))
        styles = [style.names[i] for i in rng.integers(len(style), size=len(labels))]
    return pd.DataFrame(
        {
            "file": [params.file(i) for i in range(len(labels))],
            "label": labels,
            "class": [params.words[label] for label in labels],
            "seed": [derive(params.seed, params.contents, i) for i in range(len(labels))],
            "t": "" if params.contents == "base" else 1.0,
            "prompt": [prompt(params.source_prompt, params.words[label]) for label in labels],
            "source": names,
            "style": styles,
        }
    )


@dataclass(frozen=True)
class BatchInputs:
    """What a batch of n images is made from.

    Attributes:
        prompts: The class prompt of each image.
        target: The prompt of a target image, of one sample.
        negative: What guidance leads away from, of one sample.
        seeds: The seed of each image.
        source: The images to adapt, [n, H, W, 3]; None to start from noise.
        style: Target images whose statistics the starting latents get (the initial latent AdaIN of Chung et
            al. 2024, section 4.3), [n, H, W, 3]; None to leave them as they are.
        quarters: The images a, a' and b of the grids, [n, H, W, 3] each; empty if no grids are used.
    """

    prompts: PromptEmbeddings
    target: PromptEmbeddings
    negative: PromptEmbeddings
    seeds: list[int]
    source: np.ndarray | None = None
    style: np.ndarray | None = None
    quarters: Sequence[np.ndarray] = ()

    def with_source(self, rows: list[int], source: np.ndarray) -> "BatchInputs":
        """Return the inputs of some of the images, with other source images, [len(rows), H, W, 3]."""
        return replace(
            self,
            prompts=self.prompts[rows],
            seeds=[self.seeds[row] for row in rows],
            source=source,
            style=None if self.style is None else self.style[rows],
        )


def make_batch(
    model: BaseModel, denoisers: Denoisers, params: GenerateParams, inputs: BatchInputs
) -> np.ndarray:
    """Make the images of one batch, which have one size: uint8 [n, H, W, 3]."""
    prompts, inversion = inputs.prompts, params.inversion
    levels = Levels.of(model, params, inversion)

    def inverted(latents: Tensor, denoiser: Denoiser, image_prompts: PromptEmbeddings) -> Tensor:
        predict = classifier_free(denoiser, image_prompts, image_prompts, 1.0)
        return invert(model, predict, latents, levels, inversion.refinements, inversion.timestep)

    noise = latents = start_noise(model, inputs.seeds)
    if inputs.source is not None:
        if denoisers.at_source is None:
            raise ValueError("source images need the denoiser at the source")
        encode = model.encode_unresized if params.keep_aspect else model.encode
        latents = inverted(encode(inputs.source), denoisers.at_source, prompts)
    if inversion.statistics == "noise":
        latents = adain(latents, noise)
    if inputs.style is not None:
        target = inputs.target.expand(len(prompts))
        latents = adain(latents, inverted(model.encode(inputs.style), denoisers.at_target, target))
    negative = inputs.negative.expand(len(prompts))
    predict = guided(params.guidance, denoisers.at_target, denoisers.content, prompts, negative)
    if inputs.quarters:
        predict = predict_beside(model, predict, inputs.quarters, inputs.seeds)
    return model.decode(sample(model, predict, latents, levels))


def make_images(
    model: BaseModel, denoisers: Denoisers, params: GenerateParams, inputs: BatchInputs, rows: pd.Index
) -> Sequence[np.ndarray]:
    """Make the images of some rows of the manifest: uint8 [H, W, 3] each.

    With `params.keep_aspect`, images of different sizes go through the model one size after another.
    """
    if not params.keep_aspect or inputs.source is None:
        denoisers.select(rows)
        return list(make_batch(model, denoisers, params, inputs))
    whole = whole_images(inputs.source, model.resolution)
    made: dict[int, np.ndarray] = {}
    for shape in dict.fromkeys(image.shape for image in whole):
        chosen = [i for i, image in enumerate(whole) if image.shape == shape]
        denoisers.select(rows[chosen])
        batch = inputs.with_source(chosen, np.stack([whole[i] for i in chosen]))
        made |= zip(chosen, make_batch(model, denoisers, params, batch), strict=True)
    return [made[i] for i in range(len(whole))]


def make_denoisers(
    model: BaseModel, params: GenerateParams, inputs: dict[str, Path], manifest: pd.DataFrame
) -> tuple[pd.DataFrame, Denoisers, Sequence[np.ndarray]]:
    """Load the denoisers of a job.

    Returns:
        The manifest, which gets the columns a, a_prime and b of a LoRWeB's analogies; the denoisers; and the
        images a, a' and b of all rows if these are made in grids, else nothing.
    """
    adapter = inputs["adapter"] / "adapter.safetensors" if "adapter" in inputs else None
    spec = saved_spec(adapter) if adapter is not None else None
    if adapter is None or spec is None or not spec.has_analogy:
        return manifest, Denoisers.make(model, adapter, params), ()
    drawn = draw_analogies(params, spec, inputs["data"], manifest)
    denoisers = AnalogyDenoisers.load(model, adapter, params, drawn.identity, drawn.change)
    quarters = drawn.shown if params.context == "grid" else ()
    return pd.concat([manifest, drawn.named], axis=1), denoisers, quarters


def run(params: GenerateParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/* and manifest.csv; a batch whose images all exist is not made again.

    Args:
        params: The job's parameters.
        inputs: `data`, a prepare artifact, and `adapter`, a finetune artifact; of the control, nothing.
        workspace: Where the images are written.
        progress: Called after each batch.
    """
    with reproducible(params.threads):
        source = style = None
        if params.contents == "adapted":
            source = load_labelled(inputs["data"], _pair(params).source, "train")
        if params.inversion.statistics == "target":
            style = load_unlabelled(inputs["data"], _pair(params).target, "train")
        manifest = plan_images(params, source, style)
        model = BaseModel.load(params.base_model, params.precision)
        manifest, denoisers, quarters = make_denoisers(model, params, inputs, manifest)
        if params.compile:
            model.compile("generate.compile")
        prompts = model.embed([prompt(params.source_prompt, word) for word in params.words])
        target, negative = model.embed([params.target_prompt]), negative_embeddings(model, params)

        def make(part: slice) -> Sequence[np.ndarray] | None:
            rows = manifest.iloc[part]
            if all((workspace / file).exists() for file in rows["file"]):
                return None
            batch = BatchInputs(
                prompts[rows["label"].tolist()],
                target,
                negative,
                rows["seed"].tolist(),
                None if source is None or quarters else images_named(source, rows["source"]),
                None if style is None else images_named(style, rows["style"]),
                [images[rows.index] for images in quarters],
            )
            return make_images(model, denoisers, params, batch, rows.index)

        with ImageWriter(workspace, params) as writer:
            for part, images in Batches(params.batch_size, model).run(len(manifest), make):
                if images is not None:
                    writer.write(manifest["file"].iloc[part], images)
                progress(part.stop, len(manifest), "images")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))


def _pair(params: GenerateParams) -> PairParams:
    """Return the pair of domains of a set that is not the control."""
    if params.pair is None:
        raise ValueError(f"{params.contents} images need a pair of domains")
    return params.pair
