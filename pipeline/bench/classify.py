"""Measure what the training loop and the input path cost beside plain code that does the same.

The sides take turns, so that other work on the machine slows both alike; reported are medians of the ratios
of neighbouring turns.
"""

import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional

from pipeline.bench.timing import Log, Measurements, timed
from pipeline.classify.factory import make_method
from pipeline.classify.network import Network, build_network
from pipeline.classify.training.batches import LabelledBatches, make_pool
from pipeline.classify.training.loop import Loop
from pipeline.classify.training.optimizers import make_optimizer
from pipeline.classify.training.transforms import CropPool, Inputs
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


def measure(workers: int, log: Log) -> Measurements:
    """Run both comparisons; takes about a minute.

    Args:
        workers: Number of our threads that read images, and of torchvision's processes.
        log: Called with what is being measured.

    Returns:
        `loop` from `compare_loops`; `inputs` and `pixels` from `compare_inputs`.
    """
    with tempfile.TemporaryDirectory() as folder, reproducible(threads=1):
        return {"loop": compare_loops(Path(folder), LOOP, LOOP_TURNS, log)} | compare_inputs(
            Path(folder), workers, PHOTOS, INPUT_TURNS, log
        )


def described(measured: Measurements) -> str:
    """Describe the comparisons, one per line."""
    loop, inputs, pixels = measured["loop"], measured["inputs"], measured["pixels"]
    return (
        f"loop    {loop['milliseconds']:.2f} ms a step, a bare loop {loop['bare_milliseconds']:.2f}: "
        f"{loop['overhead_percent']:+.1f} % (aim: under 5 %)\n"
        f"inputs  {inputs['images_per_second']:.0f} images a second, torchvision "
        f"{inputs['torchvision_images_per_second']:.0f}, each with {inputs['workers']} "
        f"worker{'s' if inputs['workers'] > 1 else ''}: {inputs['ratio']:.1f} times (aim: at least 8 times)\n"
        f"pixels  differ by {pixels['difference']:.2f} of 255 (aim: under 2)"
    )


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


def compare_inputs(folder: Path, workers: int, photos: int, turns: int, log: Log) -> Measurements:
    """Compare our input path with torchvision's, in speed and in pixels, once all images are cached.

    Args:
        folder: Where JPEG files and the cache go.
        workers: Number of our threads, and of torchvision's processes.
        photos: Number of JPEG files.
        turns: How often each side is timed.
        log: Called with what is being measured.

    Returns:
        `inputs`: `workers`, `images_per_second` of both sides and their `ratio`; `pixels`: their mean
            `difference`.
    """
    log(f"inputs: writing {photos} JPEG files")
    paths = write_photos(folder / "photos", photos)
    settings = TrainSettings(backbone="none", iterations=1, crop="random_resized", flip=True, workers=workers)
    pool = Inputs(SIZE, MEAN, STD, settings, folder / "cache").training(image_files(paths, None))
    assert isinstance(pool, CropPool)
    loader = _torchvision_loader(folder / "photos", workers)
    rates: list[tuple[float, float]] = []
    for turn in range(-1, turns):
        log(
            f"inputs: turn {turn + 1} of {turns}" if turn >= 0 else "inputs: first epochs, which do not count"
        )
        ours = EPOCHS * photos / timed(lambda: _read(pool, workers))
        theirs = photos / timed(lambda: [None for _ in loader])
        rates.append((ours, theirs))
    counted = rates[1:]
    speed = {
        "workers": workers,
        "images_per_second": median(ours for ours, _ in counted),
        "torchvision_images_per_second": median(theirs for _, theirs in counted),
        "ratio": median(ours / theirs for ours, theirs in counted),
    }
    return {"inputs": speed, "pixels": {"difference": pixel_difference(pool, paths)}}


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


def _torchvision_loader(folder: Path, workers: int) -> DataLoader:
    """Build the usual loader of the field: ImageFolder, read by Pillow in `workers` processes."""
    recipe = transforms.Compose(
        [
            transforms.Resize((256, 256)),
            transforms.RandomResizedCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = ImageFolder(str(folder), recipe)
    return DataLoader(images, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)


def _read(pool: CropPool, workers: int) -> None:
    """Read EPOCHS epochs of batches from `pool`."""
    steps = len(pool) // BATCH

    def batch(step: int) -> Tensor:
        return pool.augmented(shuffled(len(pool), step * BATCH, (step + 1) * BATCH, seed=0), seed=step)

    for _ in prefetch(batch, range(EPOCHS * steps), workers):
        pass


def pixel_difference(pool: CropPool, paths: list[Path]) -> float:
    """Compute the mean absolute difference, of 255, of the same crops by `pool` and by torchvision."""
    boxes, mirrored = pool.draw(len(paths), seed=0)
    ours = pool.cropped(np.arange(len(paths)), boxes, mirrored)
    mean, std = (torch.tensor(channels)[:, None, None] for channels in (MEAN, STD))
    differences = []
    for path, box, mirror, found in zip(paths, boxes.tolist(), mirrored, ours, strict=True):
        image = functional.resize(open_file(path).convert("RGB"), [256, 256])
        image = functional.resized_crop(image, *box, [SIZE, SIZE])
        expected = functional.to_tensor(functional.hflip(image) if mirror else image)
        differences.append((255 * (found * std + mean - expected)).abs().mean().item())
    return sum(differences) / len(differences)
