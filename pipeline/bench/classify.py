"""Measure what the training loop and the input path cost beside plain code that does the same.

The sides take turns, so that other work on the machine slows both alike; reported are medians of the ratios
of neighbouring turns.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import copysign
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, functional

from pipeline.bench.timing import Log, Measurements, alternate, timed
from pipeline.classify.factory import make_method
from pipeline.classify.network import Network, build_network
from pipeline.classify.training.batches import LabelledBatches, make_pool
from pipeline.classify.training.colours import BRIGHTNESS, CONTRAST, HUE, SATURATION
from pipeline.classify.training.loop import Loop
from pipeline.classify.training.optimizers import make_optimizer
from pipeline.classify.training.transforms import Augmentation, CropPool, Inputs
from pipeline.config import TrainSettings
from pipeline.core.prefetch import prefetch
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import shuffled
from pipeline.data.image_files import image_files
from pipeline.data.image_sets import ImageSet
from pipeline.data.open_image import open_file

LOOP = TrainSettings(
    backbone="digits_cnn",
    iterations=100,
    optimizer="adam",
    learning_rate=2e-3,
    backbone_lr_factor=1.0,
    weight_decay=0.0,
    schedule="constant",
    augment_shift=2,
    checkpoint_every=50,
)
"""The settings of benchmarks/digits.yaml, but with two checkpoints in 100 steps."""

LOOP_TURNS = 15
DIGITS = 2000
CLASSES = 10

PHOTOS = 240
BATCH = 40
INPUT_TURNS = 5
EPOCHS = 4
"""Epochs of our input path in a turn, beside one of torchvision's: our epochs are short."""

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLIP = transforms.RandomHorizontalFlip()


def measure(workers: int, log: Log) -> Measurements:
    """Run both comparisons; takes about a minute.

    Args:
        workers: Number of our threads that read images, and of torchvision's processes.
        log: Called with what is being measured.

    Returns:
        `loop` from `compare_loops`; `uda` and `dg` from `compare_inputs`.
    """
    with tempfile.TemporaryDirectory() as folder, reproducible(threads=1):
        return {"loop": compare_loops(Path(folder), LOOP, LOOP_TURNS, log)} | compare_inputs(
            Path(folder), workers, PHOTOS, INPUT_TURNS, log
        )


def described(measured: Measurements) -> str:
    """Describe the comparisons, one per line."""
    loop = measured["loop"]
    lines = [
        f"loop    {loop['milliseconds']:.2f} ms a step, a bare loop {loop['bare_milliseconds']:.2f}: "
        f"{loop['overhead_percent']:+.1f} % (aim: under 5 %)"
    ]
    for name in RECIPES:
        inputs = measured[name]
        lines.append(
            f"{name:<8}{inputs['images_per_second']:.0f} images a second, torchvision "
            f"{inputs['torchvision_images_per_second']:.0f}, each with {inputs['workers']} "
            f"worker{'s' if inputs['workers'] > 1 else ''}: {inputs['ratio']:.1f} times (aim: at least 8); "
            f"pixels differ by at most {inputs['difference']:.2f} of 255 (aim: 1)"
        )
    return "\n".join(lines)


# --- the loop


def compare_loops(folder: Path, settings: TrainSettings, turns: int, log: Log) -> dict[str, float]:
    """Compare the training loop with a bare loop, both training ERM with the same batches.

    Args:
        folder: Where checkpoints go.
        settings: The settings of the training.
        turns: How often each loop is timed.
        log: Called with what is being measured.

    Returns:
        `milliseconds` per step of the training loop, `bare_milliseconds` of the bare one, and
        `overhead_percent`.

    Raises:
        AssertionError: The weights of both loops differ after training; they must agree bit for bit.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (DIGITS, 32, 32, 3), dtype=np.uint8)
    digits = ImageSet(images, rng.integers(0, CLASSES, DIGITS), [str(index) for index in range(DIGITS)])
    times = []
    for turn in range(turns):
        log(f"loop: turn {turn + 1} of {turns}")
        times.append(_time_loops(digits, settings, folder / f"{turn}.safetensors", turn % 2 == 0))
    return {
        "milliseconds": 1000 * median(ours for ours, _ in times) / settings.iterations,
        "bare_milliseconds": 1000 * median(bare for _, bare in times) / settings.iterations,
        "overhead_percent": 100 * (median(ours / bare for ours, bare in times) - 1),
    }


def _time_loops(
    images: ImageSet, settings: TrainSettings, checkpoint: Path, bare_first: bool
) -> tuple[float, float]:
    """Train once by `Loop` and once by `_train_barely`; return the seconds of both."""
    network, bare = (build_network(settings, CLASSES, seed=0) for _ in range(2))
    pool = make_pool(images, images.images.shape[1], network.mean, network.std, settings.augment_shift)
    labelled, method = LabelledBatches(pool, None, None), make_method("ERM", {}, network, seed=0)
    loop = Loop(network, method, labelled, None, None, settings, 0, checkpoint)
    optimizer = make_optimizer(bare, method, settings)
    sides = [
        lambda: loop.run(lambda done, total, what: None),
        lambda: _train_barely(bare, optimizer, labelled, settings),
    ]
    taken = {side: timed(sides[side]) for side in ((1, 0) if bare_first else (0, 1))}
    if not all(map(torch.equal, network.parameters(), bare.parameters())):
        raise AssertionError("the loop and the bare loop came to different weights")
    return taken[0], taken[1]


def _train_barely(
    network: Network, optimizer: torch.optim.Optimizer, labelled: LabelledBatches, settings: TrainSettings
) -> None:
    """Train ERM with nothing but batches, loss and optimiser."""
    network.train()
    for step in range(settings.iterations):
        images, labels = labelled.batch(step, settings.batch_size, 0)
        _, logits = network(images)
        loss = cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# --- the inputs


@dataclass(frozen=True)
class Recipe:
    """The transforms of a training, as settings of this project and as torchvision's.

    Attributes:
        settings: Those of TrainSettings that differ from the defaults.
        torchvision: The transforms before ToTensor and Normalize.
        squares: The side that both sides of an image are resized to before it is cropped, or None.
    """

    settings: dict[str, Any]
    torchvision: Sequence[Callable[[Image.Image], Image.Image]]
    squares: int | None


RECIPES = {
    "uda": Recipe(
        {"resample": "bicubic"},
        [transforms.Resize((256, 256), InterpolationMode.BICUBIC), transforms.RandomResizedCrop(SIZE), FLIP],
        256,
    ),
    "dg": Recipe(
        {"crop_from": "original", "crop_scale": 0.7, "colour_jitter": 0.3, "grey": 0.1},
        [
            transforms.RandomResizedCrop(SIZE, (0.7, 1)),
            FLIP,
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
            transforms.RandomGrayscale(0.1),
        ],
        None,
    ),
}
"""Those of the transfer-learning library and of DomainBed."""


def compare_inputs(folder: Path, workers: int, photos: int, turns: int, log: Log) -> Measurements:
    """Compare our input path with torchvision's, in speed and in pixels, once all images are cached.

    Args:
        folder: Where JPEG files and the cache go.
        workers: Number of our threads, and of torchvision's processes.
        photos: Number of JPEG files.
        turns: How often each side is timed.
        log: Called with what is being measured.

    Returns:
        For each of RECIPES: `workers`, `images_per_second` of both sides, their `ratio`, and the largest
            `difference` of two pixels, of 255.
    """
    log(f"inputs: writing {photos} JPEG files")
    paths = write_photos(folder / "photos", photos)
    measured: Measurements = {}
    for name, recipe in RECIPES.items():
        choice = {"crop": "random_resized", "flip": True, "workers": workers} | recipe.settings
        settings = TrainSettings(backbone="none", iterations=1, **choice)
        pool = Inputs(SIZE, MEAN, STD, settings, folder / "cache").training(image_files(paths, None))
        assert isinstance(pool, CropPool)
        loader = _torchvision_loader(folder / "photos", recipe, workers)
        log(f"inputs: {name}")
        times = alternate(partial(_read, pool, workers), partial(list, loader), turns)
        measured[name] = {
            "workers": workers,
            "images_per_second": EPOCHS * photos / median(ours for ours, _ in times),
            "torchvision_images_per_second": photos / median(theirs for _, theirs in times),
            "ratio": median(EPOCHS * theirs / ours for ours, theirs in times),
            "difference": pixel_difference(pool, paths, recipe.squares),
        }
    return measured


def write_photos(folder: Path, count: int) -> list[Path]:
    """Write `count` JPEG files of about 300x300, crops of two photographs, in a folder for each of these."""
    rng, photographs, paths = np.random.default_rng(0), load_sample_images().images, []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        height, width = rng.integers(280, 321, 2)
        top, left = rng.integers(0, [photograph.shape[0] - height, photograph.shape[1] - width])
        path = folder / str(index % len(photographs)) / f"{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[top : top + height, left : left + width]).save(path, quality=90)
        paths.append(path)
    return paths


def _torchvision_loader(folder: Path, recipe: Recipe, workers: int) -> DataLoader:
    """Build the usual loader of the field: ImageFolder, read by Pillow in `workers` processes."""
    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = ImageFolder(str(folder), transforms.Compose([*recipe.torchvision, *last]))
    return DataLoader(images, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)


def _read(pool: CropPool, workers: int) -> None:
    """Read EPOCHS epochs of batches from `pool`."""
    steps = len(pool) // BATCH

    def batch(step: int) -> Tensor:
        return pool.augmented(shuffled(len(pool), step * BATCH, (step + 1) * BATCH, seed=0), seed=step)

    for _ in prefetch(batch, range(EPOCHS * steps), workers):
        pass


def pixel_difference(pool: CropPool, paths: list[Path], squares: int | None) -> float:
    """Compute the largest difference, of 255, of two pixels of the same images by `pool` and by torchvision.

    Args:
        pool: The images at `paths`.
        paths: Image files.
        squares: As in Recipe.
    """
    ours = [pool.cut(index) for index in range(len(paths))]
    drawn = pool.draw(np.array([image.shape[:2] for image in ours]), seed=0)
    mean, std = (torch.tensor(channels)[:, None, None] for channels in (MEAN, STD))
    found = 255 * (pool.changed(ours, drawn) * std + mean)
    differences = []
    for row, path in enumerate(paths):
        image = open_file(path).convert("RGB")
        if squares is not None:
            for shape in ([image.height, squares], [squares, squares]):
                image = functional.resize(image, shape, InterpolationMode.BICUBIC)
        expected = by_torchvision(image, drawn, row)
        differences.append((found[row] - 255 * functional.to_tensor(expected)).abs().max().item())
    return max(differences)


def by_torchvision(image: Image.Image, drawn: Augmentation, row: int) -> Image.Image:
    """Change an image as `row` of `drawn` says, by torchvision and Pillow.

    Pillow resizes the width first, then the height, and is given one after the other: version 13 has the
    other order for some boxes.
    """
    top, left, height, width = drawn.boxes[row].tolist()
    image = functional.crop(image, top, left, height, width)
    for shape in ([height, SIZE], [SIZE, SIZE]):
        image = functional.resize(image, shape)
    if drawn.flips[row]:
        image = functional.hflip(image)
    if drawn.colours is None:
        return image
    brightness, contrast, saturation = drawn.colours.factors[row].tolist()
    shift = int(drawn.colours.shifts[row])
    changes = {
        BRIGHTNESS: lambda image: functional.adjust_brightness(image, brightness),
        CONTRAST: lambda image: functional.adjust_contrast(image, contrast),
        SATURATION: lambda image: functional.adjust_saturation(image, saturation),
        HUE: lambda image: functional.adjust_hue(image, (shift + copysign(0.5, shift)) / 255),
    }
    for change in drawn.colours.order[row].tolist():
        image = changes[change](image)
    return functional.to_grayscale(image, 3) if drawn.colours.grey[row] else image
