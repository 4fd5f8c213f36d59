"""`analogy`: one image changed as an example pair of images shows."""

import argparse
import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.config import AdapterSpec, BaseModelSpec, Guidance, store_folder
from pipeline.core.errors import UserError
from pipeline.core.store import MANIFEST, Store, write_atomic
from pipeline.data.image_files import read_square
from pipeline.diffusion.adapters import FILE, load_adapter, saved_spec
from pipeline.diffusion.adapters.adapter import read_adapter
from pipeline.diffusion.adapters.export import lora_factors
from pipeline.diffusion.adapters.lora.file import write_lora
from pipeline.diffusion.adapters.lorweb import analogy, load_encoder
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.stage import beside, start_noise, to_png
from pipeline.diffusion.sampling import Levels, adain, classifier_free, guided, invert, sample

ENLARGED_TO = 128
"""The side of an image in a strip is the least multiple of its own that is this many pixels or more."""


@dataclass(frozen=True)
class Pictures:
    """uint8: examples before and after [k, H, W, 3] each, and what to change [1, H, W, 3]."""

    a: np.ndarray
    a_prime: np.ndarray
    b: np.ndarray


def find_adapter(named: str, store: Path) -> tuple[Path, AdapterSpec]:
    """The file that a key, a folder or a path names; UserError unless it holds a LoRWeB."""
    place = Path(named)
    if not place.exists() and Store(store).has("finetune", named):
        place = Store(store).path("finetune", named)
    file = place / FILE if place.is_dir() else place
    if not file.is_file():
        raise UserError(
            f"--adapter {named}: there is no such file or folder, and no finished fine-tuning of that key in {store}"
        )
    spec = saved_spec(file)
    if not spec.has_analogy:
        raise UserError(
            f"--adapter {file} holds a {spec.type}, which takes no analogies; expected a lorweb (adapter type: lorweb)"
        )
    return file, spec


def base_model_of(adapter: Path, name: str | None, resolution: int | None) -> BaseModelSpec:
    """The named base model; without a name that of the fine-tuning whose artifact the adapter is in, else mini."""
    manifest = adapter.parent / MANIFEST
    if name is None and manifest.is_file():
        return BaseModelSpec.model_validate(json.loads(manifest.read_text())["params"]["base_model"])
    return BaseModelSpec(**{"name": name or "mini"} | ({"resolution": resolution} if resolution else {}))


def read_pictures(options: argparse.Namespace, spec: AdapterSpec, size: int) -> tuple[Pictures, list[str]]:
    """The images that the user named, at `size`, and what was converted; UserError if there are too many or few."""
    most = spec.analogy.examples
    if len(options.a) != len(options.a_prime):
        raise UserError(
            f"{len(options.a)} --a and {len(options.a_prime)} --a-prime were given; expected as many of one as of the other"
        )
    if len(options.a) > most:
        raise UserError(
            f"{len(options.a)} examples were given, but the adapter takes at most {most} (adapter.analogy.examples)"
        )
    said: list[str] = []

    def read(paths: list[Path]) -> np.ndarray:
        images = np.stack([read_square(str(path), size) for path in paths])
        for path in paths:
            with Image.open(path) as image:
                if (image.mode, image.size) != ("RGB", (size, size)):
                    across, down = image.size
                    said.append(
                        f"{path} is {image.mode} of {across}x{down}: taken is its middle square, as RGB of {size}x{size}"
                    )
        return images

    return Pictures(read(options.a), read(options.a_prime), read([options.b])), said


def conditions(spec: AdapterSpec, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """A : a :: b and a : a' :: b, embedded [3 width] each: of several examples, the mean."""
    encoder = load_encoder(spec.analogy)
    a, a_prime, b = (encoder.embed(images) for images in (pictures.a, pictures.a_prime, pictures.b))
    return analogy(a, a, b).mean(0), analogy(a, a_prime, b).mean(0)


@dataclass(frozen=True)
class Manner:
    """How b' is sampled: what b shows, how that guides, and where sampling starts.

    statistics: of the noise that b is inverted to, target or own; seed: of the noise that a grid's last quarter is
    painted from. One of the two is None.
    """

    prompt: str
    guidance: Guidance
    statistics: str | None
    seed: int | None
    scale: float
    steps: int


def manner_of(options: argparse.Namespace, spec: AdapterSpec) -> Manner:
    """As the user has it; UserError if an option is for another context than that of the adapter."""
    context = spec.analogy.context
    for option, given, wanted in (
        ("--seed", options.seed, "grid"),
        ("--statistics", options.statistics, "inversion"),
    ):
        if given is not None and context != wanted:
            raise UserError(
                f"{option} is for an adapter whose analogy.context is {wanted}; that of --adapter {options.adapter} is {context}"
            )
    if options.steps < 1:
        raise UserError(f"--steps is {options.steps}; expected at least 1")
    guidance = Guidance(weight=options.guidance, content_scale=options.content_scale)
    if context == "grid":
        return Manner(options.prompt, guidance, None, options.seed or 0, options.scale, options.steps)
    statistics = options.statistics or "target"
    return Manner(options.prompt, guidance, statistics, None, options.scale, options.steps)


@torch.inference_mode()
def changed(
    model: BaseModel, adapter: Path, between: tuple[Tensor, Tensor], pictures: Pictures, manner: Manner
) -> np.ndarray:
    """B as the analogy has it: uint8 [H, W, 3]. between: what `conditions` gave."""
    guidance, scale = manner.guidance, manner.scale
    stays, leads = between
    content = copy.deepcopy(model.denoiser) if guidance.content_scale != 1 else model.denoiser
    if content is not model.denoiser:
        guide = load_adapter(content, adapter)
        guide.set_scale(scale * guidance.content_scale)
        guide.merge(leads)
    loaded = load_adapter(model.denoiser, adapter)
    loaded.set_scale(scale)
    prompted, empty = model.embed([manner.prompt]), model.embed(["an image"])
    levels = Levels.make(model, manner.steps)

    def inverted(image: np.ndarray, told: object) -> Tensor:
        return invert(model, classifier_free(model.denoiser, told, empty, 1.0), model.encode(image), levels)

    predict = guided(guidance, model.denoiser, content, prompted, empty)
    if manner.seed is None:
        loaded.merge(stays)
        latents = inverted(pictures.b, prompted)
        loaded.merge(leads)
        if manner.statistics == "target":
            latents = adain(latents, inverted(pictures.a_prime[:1], empty))
    else:
        loaded.merge(leads)
        shown, seeds = [pictures.a[:1], pictures.a_prime[:1], pictures.b], [manner.seed]
        latents, predict = start_noise(model, seeds), beside(model, predict, shown, seeds)
    return model.decode(sample(model, predict, latents, levels))[0]


def strip(pictures: Pictures, made: np.ndarray) -> np.ndarray:
    """Examples under each other, a beside a', and b beside what was made: uint8, enlarged without smoothing."""
    times = -(-ENLARGED_TO // made.shape[0])
    examples = [np.concatenate(pair, axis=1) for pair in zip(pictures.a, pictures.a_prime, strict=True)]
    white = np.full((made.shape[0] // 8, 2 * made.shape[1], 3), 255, np.uint8)
    rows = [*examples, white, np.concatenate([pictures.b[0], made], axis=1)]
    return np.concatenate(rows).repeat(times, axis=0).repeat(times, axis=1)


def carry_out(options: argparse.Namespace) -> int:
    """The command; what it wrote is printed, what it converted is said on standard error."""
    for path, suffix, what in (
        (options.out, ".png", "-o"),
        (options.strip, ".png", "--strip"),
        (options.lora, ".safetensors", "--lora"),
    ):
        if path is not None and path.suffix != suffix:
            raise UserError(f"{what} {path}: expected a name that ends in {suffix}")
    adapter, spec = find_adapter(options.adapter, store_folder(options.store))
    manner = manner_of(options, spec)
    base = base_model_of(adapter, options.base_model, options.resolution)
    pictures, said = read_pictures(options, spec, base.resolution)
    print(*said, sep="\n", end="\n" * bool(said), file=sys.stderr)
    between = conditions(spec, pictures)
    made = changed(BaseModel.load(base), adapter, between, pictures, manner)
    written = {"out": str(options.out)}
    write_atomic(options.out, to_png(made))
    if options.strip is not None:
        write_atomic(options.strip, to_png(strip(pictures, made)))
        written["strip"] = str(options.strip)
    if options.lora is not None:
        factors = lora_factors(*read_adapter(adapter), between[1], options.scale)
        write_lora(options.lora, factors, {"scale": options.scale, "adapter": spec.model_dump()})
        written["lora"] = str(options.lora)
    print(json.dumps(written | {"converted": said}) if options.json else "\n".join(written.values()))
    return 0
