"""Train the image encoder that goes with ``mini``, from nothing, on a CPU core in about four minutes.

    python -m pipeline.diffusion.mini.encoder --work /tmp/mini

LoRWeB reads analogies by a frozen image encoder: CLIP's in the paper. Images of 32 pixels want a small one.
This is the network ``digits_cnn``, trained on the glyphs that ``mini`` was trained on (in fonts that no
benchmark uses) to recognise the character of an image and to describe its appearance. The file holds its
weights, and the means and deviations of its features over those glyphs: what all images share would otherwise
hide what sets them apart. Equal arguments give an equal file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones import DigitsCnn
from pipeline.core.lr_schedule import schedule_rates
from pipeline.core.seeds import derive
from pipeline.core.store import write_atomic
from pipeline.diffusion.mini import ENCODER
from pipeline.diffusion.mini.glyph_pool import as_input, make_pool
from pipeline.diffusion.mini.loop import one_cycle

CHARACTERS = 36
APPEARANCE = 10
PEAK_RATE = 3e-3
HELD_OUT = 1000
"""Images at the end of the pool that are not trained on."""
BORDER = 4
"""Width in pixels of the edge that counts as background."""


def appearance(images: Tensor) -> Tensor:
    """Describe the appearance of glyphs in ten numbers.

    These are the mean colour of the border, its deviation there (large for a texture), the colour of the
    pixels that differ most from it (the glyph's), and the steepness of edges (small in blurred images).

    Args:
        images: [n, 3, h, w] in -1..1.

    Returns:
        [n, 10].
    """
    edge = torch.ones(images.shape[-2:], dtype=torch.bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    border = images[..., edge]
    background = border.mean(-1)
    distance = (images - background[..., None, None]).square().sum(1, keepdim=True)
    glyph = (images * distance).sum((2, 3)) / distance.sum((2, 3)).clamp(min=1e-6)
    steepness = images.diff(dim=-1).abs().mean((1, 2, 3))[:, None]
    return torch.cat([background, border.std(-1), glyph, steepness], 1)


def shift(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Move the whole batch by up to two pixels. Edges are repeated."""
    across, down = rng.integers(0, 5, 2)
    size = images.shape[-1]
    return F.pad(images, (2, 2, 2, 2), mode="replicate")[..., down : down + size, across : across + size]


def train(images: np.ndarray, labels: np.ndarray, steps: int, batch: int, seed: int) -> DigitsCnn:
    """Train the encoder with two heads, for the character and the appearance, and return it without them.

    Args:
        images: The pool, uint8 [n, 32, 32, 3]. The last HELD_OUT images are not trained on.
        labels: Their characters [n].
        steps: Number of steps.
        batch: Images in a step.
        seed: Seed of everything.
    """
    torch.manual_seed(derive(seed, "encoder"))
    network = DigitsCnn()
    heads = nn.Linear(network.num_features, CHARACTERS + APPEARANCE)
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=1e-3)
    schedule = schedule_rates(optimizer, one_cycle(steps))
    pixels, classes = as_input(images[:-HELD_OUT]), torch.from_numpy(labels[:-HELD_OUT])
    looks = appearance(pixels)
    looks = (looks - looks.mean(0)) / looks.std(0)
    for step in range(steps):
        rng = np.random.default_rng(derive(seed, "encoder", step))
        chosen = torch.from_numpy(rng.integers(len(pixels), size=batch))
        character, look = heads(network(shift(pixels[chosen], rng))).split([CHARACTERS, APPEARANCE], 1)
        loss = F.cross_entropy(character, classes[chosen]) + F.mse_loss(look, looks[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    print_quality(network.eval(), heads, images[-HELD_OUT:], labels[-HELD_OUT:])
    return network


@torch.inference_mode()
def print_quality(network: DigitsCnn, heads: nn.Module, images: np.ndarray, labels: np.ndarray) -> None:
    """Print the accuracy on images that were not trained on."""
    characters, looks = heads(network(as_input(images))).split([CHARACTERS, APPEARANCE], 1)
    accuracy = (characters.argmax(1).numpy() == labels).mean()
    true = appearance(as_input(images))
    error = (looks - (true - true.mean(0)) / true.std(0)).square().mean().item()
    print(
        f"held out: {100 * accuracy:.1f} % of characters right, {100 * (1 - error):.1f} % of the variance of "
        "the appearance explained"
    )


@torch.inference_mode()
def statistics(network: DigitsCnn, images: np.ndarray) -> dict[str, Tensor]:
    """Return the mean and the deviation of the features of `images`, [num_features] each."""
    features = torch.cat([network(part) for part in as_input(images).split(1000)])
    return {"mean": features.mean(0), "deviation": features.std(0)}


def main(arguments: list[str] | None = None) -> None:
    """Draw, train and write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.diffusion.mini.encoder",
        description="Train the image encoder that goes with mini, on a CPU core in about four minutes.",
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the images")
    parser.add_argument("--out", type=Path, default=ENCODER, help="file to write (default: %(default)s)")
    parser.add_argument("--images", type=int, default=16000, help="number of glyphs (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4000, help="number of steps (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images in a step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    file, started = options.work / f"encoder_{options.images}_{options.seed}.npz", time.perf_counter()
    if not file.exists():
        images, labels = make_pool(options.images, derive(options.seed, "encoder"), workers=1)
        np.savez(file, images=images, labels=labels)
        print(f"drew {len(images)} glyphs in {time.perf_counter() - started:.0f} s", flush=True)
    with np.load(file) as pool:
        images, labels = pool["images"], pool["labels"]
    network = train(images, labels, options.steps, options.batch, options.seed)
    tensors = network.state_dict() | statistics(network, images)
    write_atomic(options.out, save(tensors, metadata={"format": "pt", "backbone": "digits_cnn"}))
    print(f"wrote {options.out} after {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
