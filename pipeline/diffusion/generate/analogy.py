"""Change an image as an example pair of images shows, with a LoRWeB adapter: a : a' :: b : b'."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import ValidationError
from torch import Tensor

from pipeline.config import AdapterSpec, AnalogySpec, BaseModelSpec, Guidance, store_folder
from pipeline.core.errors import UserError
from pipeline.core.json_files import read_object
from pipeline.core.store import MANIFEST
from pipeline.data.image_files import as_rgb
from pipeline.data.open_image import open_image
from pipeline.diffusion.adapters import find_adapter_file, saved_spec
from pipeline.diffusion.adapters.adapter import read_adapter
from pipeline.diffusion.adapters.export import lora_factors
from pipeline.diffusion.adapters.lora.file import write_lora
from pipeline.diffusion.adapters.lorweb import analogy, load_encoder
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.in_context import predict_beside
from pipeline.diffusion.generate.merged_denoisers import SharedDenoiser
from pipeline.diffusion.prompt_embeddings import Denoiser, PromptEmbeddings
from pipeline.diffusion.sampling import Levels, adain, classifier_free, guided, invert, sample, start_noise

STRIP_MIN_SIDE = 128
"""The least side in pixels of an image in a strip, which is enlarged by a whole factor."""

EMPTY_PROMPT = "an image"
UNGUIDED = Guidance(weight=1.0, content_scale=1.0)


@dataclass(frozen=True)
class AnalogyOptions:
    """What `change_image` changes, and how.

    Attributes:
        a: Image files of the examples before the change.
        a_prime: Image files of the same examples after the change.
        b: The image file to change.
        adapter: A LoRWeB: the key of a finished fine-tuning, its folder, or an adapter file.
        store: The folder of the store in which a key is looked up; None stands for the default store.
        base_model: None stands for the base model that the artifact of the adapter names, else `mini`.
        prompt: What b shows.
        guidance: The guidance scale, and the share of the adapter's update in the model that guides.
        statistics: Whose channel statistics the inverted b gets: those of the inverted first a' (`target`,
            the default) or its own. Only for an adapter whose context is `inversion`.
        seed: The seed of the noise that b' is sampled from (default 0). Only for an adapter whose context is
            `grid`.
        scale: A factor on the adapter's update.
        steps: DDIM steps in each direction.
    """

    a: Sequence[Path]
    a_prime: Sequence[Path]
    b: Path
    adapter: str
    store: Path | None = None
    base_model: BaseModelSpec | None = None
    prompt: str = EMPTY_PROMPT
    guidance: Guidance = UNGUIDED
    statistics: Literal["target", "own"] | None = None
    seed: int | None = None
    scale: float = 1.0
    steps: int = 25


@dataclass(frozen=True)
class LorwebFile:
    """A saved LoRWeB: its file, its specification, and the part of that which describes analogies."""

    file: Path
    spec: AdapterSpec
    analogy: AnalogySpec


@dataclass(frozen=True)
class AnalogyImages:
    """The images of an analogy: k examples a and a', uint8 [k, H, W, 3] each, and b, uint8 [1, H, W, 3]."""

    a: np.ndarray
    a_prime: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class AnalogyConditions:
    """The conditions of one analogy, [3 width] each: a : a :: b, which changes nothing, and a : a' :: b."""

    identity: Tensor
    change: Tensor


@dataclass(frozen=True)
class AnalogyResult:
    """A changed image.

    Attributes:
        image: b', uint8 [H, W, 3].
        images: The analogy that it was made from.
        adapter: The LoRWeB that made it.
        condition: The embedded analogy a : a' :: b, [3 width].
        scale: The factor on the adapter's update.
        notes: A sentence for each input image that was converted.
    """

    image: np.ndarray
    images: AnalogyImages
    adapter: LorwebFile
    condition: Tensor
    scale: float
    notes: list[str]

    def strip(self) -> np.ndarray:
        """Draw each example a beside its a', and b beside b' below: uint8, enlarged without smoothing."""
        height, width = self.image.shape[:2]
        pairs = zip(self.images.a, self.images.a_prime, strict=True)
        gap = np.full((height // 8, 2 * width, 3), 255, np.uint8)
        rows = [np.concatenate(pair, axis=1) for pair in pairs]
        rows += [gap, np.concatenate([self.images.b[0], self.image], axis=1)]
        factor = -(-STRIP_MIN_SIDE // height)
        return np.concatenate(rows).repeat(factor, axis=0).repeat(factor, axis=1)

    def save_lora(self, path: Path) -> None:
        """Write the adapter under this analogy as a LoRA, for `pipe.load_lora_weights` of diffusers."""
        factors = lora_factors(*read_adapter(self.adapter.file), self.condition, self.scale)
        write_lora(path, factors, {"scale": self.scale, "adapter": self.adapter.spec.model_dump()})


def find_adapter(name: str, store: Path) -> LorwebFile:
    """Find the LoRWeB that a key, a folder or a file's path names.

    Raises:
        UserError: There is none, or the adapter is of another type.
    """
    file = find_adapter_file(name, store)
    spec = saved_spec(file)
    if spec.analogy is None:
        raise UserError(
            f"adapter {file} holds a {spec.type}, which takes no analogies; "
            "expected a lorweb (adapter type: lorweb)"
        )
    return LorwebFile(file, spec, spec.analogy)


def default_base_model(adapter: Path) -> BaseModelSpec:
    """Return the base model in the manifest beside the adapter's file, or `mini` without a manifest.

    Raises:
        UserError: The manifest is damaged.
    """
    manifest = adapter.parent / MANIFEST
    if not manifest.is_file():
        return BaseModelSpec(name="mini")
    remedy = "state the base model with --base-model"
    try:
        return BaseModelSpec.model_validate(read_object(manifest, remedy)["params"]["base_model"])
    except (KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{manifest} states no base model that can be used; {remedy}") from error


def read_images(options: AnalogyOptions, most: int, size: int) -> tuple[AnalogyImages, list[str]]:
    """Read the images of an analogy upright, as centre squares of `size` pixels.

    Args:
        options: Names the files.
        most: The largest number of examples that the adapter takes.
        size: The side of the squares.

    Returns:
        The images, and a sentence for each that was converted.

    Raises:
        UserError: There are too many examples, or not as many images a as a', or a file is not a complete
            image.
    """
    if len(options.a) != len(options.a_prime):
        raise UserError(
            f"{len(options.a)} images a and {len(options.a_prime)} images a-prime were given; "
            "expected equal numbers of both"
        )
    if len(options.a) > most:
        raise UserError(
            f"{len(options.a)} examples were given, but the adapter takes at most {most} "
            "(adapter.analogy.examples)"
        )
    notes: list[str] = []

    def read(paths: Sequence[Path]) -> np.ndarray:
        return np.stack([_read_square(path, size, notes) for path in paths])

    return AnalogyImages(read(options.a), read(options.a_prime), read([options.b])), notes


def _read_square(path: Path, size: int, notes: list[str]) -> np.ndarray:
    """Read one image as uint8 [size, size, 3]; add to `notes` if it was converted."""
    image = open_image(path)
    if (image.mode, image.size) != ("RGB", (size, size)):
        width, height = image.size
        notes.append(
            f"{path} is {image.mode} of {width}x{height}: its middle square is used, as RGB of {size}x{size}"
        )
    return np.asarray(ImageOps.fit(as_rgb(image), (size, size), Image.Resampling.LANCZOS))


def embed_analogy(spec: AnalogySpec, images: AnalogyImages) -> AnalogyConditions:
    """Embed both analogies of `images`; several examples are averaged."""
    encoder = load_encoder(spec)
    a, a_prime, b = (encoder.embed(some) for some in (images.a, images.a_prime, images.b))
    return AnalogyConditions(analogy(a, a, b).mean(0), analogy(a, a_prime, b).mean(0))


def check_options(options: AnalogyOptions, spec: AnalogySpec) -> None:
    """Raise a UserError if an option does not suit an adapter of that context, or is no number in range."""
    for name, value, context in (
        ("seed", options.seed, "grid"),
        ("statistics", options.statistics, "inversion"),
    ):
        if value is not None and spec.context != context:
            raise UserError(
                f"{name} applies to an adapter whose analogy.context is {context}; "
                f"that of adapter {options.adapter} is {spec.context}"
            )
    factors = {"scale": options.scale, **options.guidance.model_dump()}
    for name, factor in factors.items():
        if isinstance(factor, float) and not math.isfinite(factor):
            raise UserError(f"{name} is {factor}; expected a finite number")
    if options.steps < 1:
        raise UserError(f"steps is {options.steps}; expected at least 1")


@torch.inference_mode()
def apply_analogy(
    model: BaseModel,
    adapter: LorwebFile,
    conditions: AnalogyConditions,
    images: AnalogyImages,
    options: AnalogyOptions,
) -> np.ndarray:
    """Sample b': uint8 [H, W, 3]. The adapter is merged into the denoiser of `model`, which stays changed.

    With context `inversion`, b is inverted under a : a :: b and sampled again under a : a' :: b. With context
    `grid`, b' is sampled from noise, beside a, a' and b.
    """
    guidance = options.guidance
    shared, scale = SharedDenoiser(model, adapter.file), options.scale
    at_b = shared.merged_at(conditions.identity, scale)
    changed = guide = shared.merged_at(conditions.change, scale)
    if guidance.content_scale != 1:
        guide = shared.merged_at(conditions.change, scale * guidance.content_scale)
    prompt, empty = model.embed([options.prompt]), model.embed([EMPTY_PROMPT])
    levels = Levels.make(model, options.steps)

    def inverted(image: np.ndarray, denoiser: Denoiser, image_prompt: PromptEmbeddings) -> Tensor:
        predict = classifier_free(denoiser, image_prompt, empty, 1.0)
        return invert(model, predict, model.encode(image), levels)

    predict = guided(guidance, changed, guide, prompt, empty)
    if adapter.analogy.context == "grid":
        quarters, seeds = [images.a[:1], images.a_prime[:1], images.b], [options.seed or 0]
        latents = start_noise(model, seeds)
        predict = predict_beside(model, predict, quarters, seeds)
    else:
        latents = inverted(images.b, at_b, prompt)
        if options.statistics != "own":
            latents = adain(latents, inverted(images.a_prime[:1], changed, empty))
    return model.decode(sample(model, predict, latents, levels))[0]


def change_image(options: AnalogyOptions) -> AnalogyResult:
    """Change the image b as the examples a and a' show.

    Raises:
        UserError: The adapter cannot be found, an option does not apply to it, or an image cannot be read.
    """
    adapter = find_adapter(options.adapter, store_folder(options.store))
    check_options(options, adapter.analogy)
    base_model = options.base_model or default_base_model(adapter.file)
    images, notes = read_images(options, adapter.analogy.examples, base_model.resolution)
    conditions = embed_analogy(adapter.analogy, images)
    image = apply_analogy(BaseModel.load(base_model), adapter, conditions, images, options)
    return AnalogyResult(image, images, adapter, conditions.change, options.scale, notes)
