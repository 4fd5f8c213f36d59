"""Stage two: images from a fine-tuned model, every one on disk, with a manifest that says how it was made.

- `adapted`: source images, inverted at t = 0 and sampled again at t = 1; they keep their labels.
- `generated`: images of the target from noise at t = 1, a number for each class.
- `base`: the control, from noise by the base model without any adapter.

With a LoRWeB, t = 0 stands for an analogy of source images alone, and t = 1 for source example : target example :: image.
With one whose context is a grid, nothing is inverted: images are painted from noise beside that example.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled, load_unlabelled
from pipeline.diffusion.adapters import saved_spec
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.in_context import in_grid
from pipeline.diffusion.generate.manifest_analogies import draw_analogies
from pipeline.diffusion.generate.merged_denoisers import AnalogyDenoisers, Denoisers
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings
from pipeline.diffusion.sampling import Levels, Predict, adain, classifier_free, guided, invert, sample
from pipeline.planning.kinds.generate import GenerateParams


def plan_images(params: GenerateParams, source: ImageSet | None, style: ImageSet | None) -> pd.DataFrame:
    """The manifest: one row per image to make, before any is made.

    Columns file, label, class, seed, t, prompt, source, style. Images of one class stand apart, so that a run that was
    cut short has some of every class.
    """
    if source is None:
        labels = np.tile(np.arange(len(params.words)), params.per_class or 0)
        names = [""] * len(labels)
    else:
        chosen = choose_balanced(source, params.per_class, params.seed)
        labels, names = source.labels[chosen], [source.names[i] for i in chosen]
    styles = [""] * len(labels)
    if style is not None:
        drawn = np.random.default_rng(derive(params.seed, "style", params.contents))
        styles = [style.names[i] for i in drawn.integers(len(style), size=len(labels))]
    return pd.DataFrame(
        {
            "file": [f"images/{i:06d}.png" for i in range(len(labels))],
            "label": labels,
            "class": [params.words[label] for label in labels],
            "seed": [derive(params.seed, params.contents, i) for i in range(len(labels))],
            "t": "" if params.contents == "base" else 1.0,
            "prompt": [prompt(params.source_prompt, params.words[label]) for label in labels],
            "source": names,
            "style": styles,
        }
    )


def choose_balanced(source: ImageSet, per_class: int | None, seed: int) -> np.ndarray:
    """Indices of up to `per_class` images of every class (all with None), drawn once, classes taking turns."""
    order = np.random.default_rng(derive(seed, "choose")).permutation(len(source))
    turns = pd.Series(source.labels[order]).groupby(source.labels[order]).cumcount().to_numpy()
    keep = turns < per_class if per_class is not None else np.ones(len(order), bool)
    return order[keep][np.argsort(turns[keep], kind="stable")]


def start_noise(model: BaseModel, seeds: list[int]) -> Tensor:
    """Gaussian latents [n, c, h, w], each from its own seed, so that an image does not depend on its batch.

    They are drawn on the CPU, so that a seed stands for the same noise on every device.
    """
    drawn = [torch.randn(model.latent_shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn).to(model.device)


def beside(model: BaseModel, predict: Predict, shown: Sequence[np.ndarray], seeds: list[int]) -> Predict:
    """The prediction for b' in a grid with `shown`, a, a' and b, each [n, H, W, 3].

    predict: of whole grids; seeds: of the n images, from which each quarter has noise of its own.
    """
    known = [model.encode(images) for images in shown]
    own = [[derive(seed, "quarter", quarter) for seed in seeds] for quarter in range(len(known))]
    return in_grid(model, predict, known, [start_noise(model, theirs) for theirs in own])


def make_batch(
    model: BaseModel,
    denoisers: Denoisers,
    params: GenerateParams,
    prompts: PromptEmbeddings,
    empty: PromptEmbeddings,
    seeds: list[int],
    source: np.ndarray | None,
    style: np.ndarray | None,
    shown: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Images uint8 [n, H, W, 3] for n prompts; `empty` is the one without a class.

    `source` [n, H, W, 3] is what to adapt, or None to begin with noise; `style` [n, H, W, 3], images of the target,
    lend their statistics to what sampling starts from (the initial latent AdaIN of Chung et al. 2024, section 4.3);
    `shown`, [n, H, W, 3] each, are a, a' and b, if images are painted into grids with them.
    """
    empty, inversion = empty.expand(len(prompts)), params.inversion
    levels = Levels.make(model, params.steps, inversion.depth)

    def inverted(images: np.ndarray, denoiser: nn.Module, prompt: PromptEmbeddings) -> Tensor:
        plain = classifier_free(denoiser, prompt, empty, 1.0)
        return invert(model, plain, model.encode(images), levels, inversion.refinements)

    noise = start_noise(model, seeds)
    latents = noise if source is None else inverted(source, denoisers.at_source, prompts)
    if inversion.statistics == "noise":
        latents = adain(latents, noise)
    if style is not None:
        latents = adain(latents, inverted(style, denoisers.at_target, empty))
    predict = guided(params.guidance, denoisers.at_target, denoisers.content, prompts, empty)
    if shown:
        predict = beside(model, predict, shown, seeds)
    return model.decode(sample(model, predict, latents, levels))


def to_png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, 3] as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def images_named(images: ImageSet | None, names: pd.Series) -> np.ndarray | None:
    """uint8 [n, H, W, 3], in the order of `names`; None if there is no set to take them from."""
    if images is None:
        return None
    row_of = {name: i for i, name in enumerate(images.names)}
    return images.images[[row_of[name] for name in names]]


def make_denoisers(
    model: BaseModel, params: GenerateParams, inputs: dict[str, Path], manifest: pd.DataFrame
) -> tuple[pd.DataFrame, Denoisers, Sequence[np.ndarray]]:
    """The manifest, the denoisers, and a, a' and b of every row, if images are painted into grids with them.

    With a LoRWeB, the manifest gets the columns a, a_prime and b: the images of each analogy.
    """
    adapter = inputs["adapter"] / "adapter.safetensors" if "adapter" in inputs else None
    spec = saved_spec(adapter) if adapter is not None else None
    if spec is None or not spec.has_analogy:
        return manifest, Denoisers.make(model, adapter, params), ()
    drawn = draw_analogies(params, spec, inputs["data"], manifest)
    denoisers = AnalogyDenoisers.of(model, adapter, params, drawn.to_itself, drawn.condition)
    shown = drawn.shown if params.context == "grid" else ()
    return pd.concat([manifest, drawn.named], axis=1), denoisers, shown


def run(params: GenerateParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv; batches whose images are all there already are not made again."""
    with reproducible(params.threads):
        source = style = None
        if params.contents == "adapted":
            source = load_labelled(inputs["data"], params.pair.source, "train")
        if params.inversion.statistics == "target":
            style = load_unlabelled(inputs["data"], params.pair.target, "train")
        manifest = plan_images(params, source, style)
        model = BaseModel.load(params.base_model, params.precision)
        manifest, denoisers, shown = make_denoisers(model, params, inputs, manifest)
        prompts = model.embed([prompt(params.source_prompt, word) for word in params.words])
        empty = model.embed([params.target_prompt])
        for start in range(0, len(manifest), params.batch_size):
            rows = manifest.iloc[start : start + params.batch_size]
            if not all((workspace / file).exists() for file in rows["file"]):
                labels, seeds = rows["label"].tolist(), rows["seed"].tolist()
                inverted = None if shown else images_named(source, rows["source"])
                lent, quarters = images_named(style, rows["style"]), [images[rows.index] for images in shown]
                denoisers.turn_to(rows.index)
                images = make_batch(
                    model, denoisers, params, prompts[labels], empty, seeds, inverted, lent, quarters
                )
                for file, image in zip(rows["file"], images, strict=True):
                    write_atomic(workspace / file, to_png(image))
            progress(start + len(rows), len(manifest), "images")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
