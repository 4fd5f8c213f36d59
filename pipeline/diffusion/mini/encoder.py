"""Train the image encoder that goes with ``mini``, from nothing, on a CPU core in about four minutes.

    python -m pipeline.diffusion.mini.encoder --work /tmp/mini

LoRWeB reads analogies by a frozen image encoder, CLIP's in the paper. Images of 32 pixels want a small one: this is the
network ``digits_cnn``, taught on the glyphs that ``mini`` itself was trained on (fonts that no benchmark uses) to tell which
character an image shows and what it looks like. Beside its weights the file has the means and deviations of its features
over those glyphs, for what all images have in common would drown what sets them apart. Equal arguments give an equal file.
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
from pipeline.diffusion.mini.train import as_input, make_pool, one_cycle

CHARACTERS = 36
APPEARANCE = 10
HELD_OUT = 1000
BORDER = 4
"""Pixels at the edge that are taken for background."""


def appearance(images: Tensor) -> Tensor:
    """What glyphs look like, in numbers [n, 10]; images [n, 3, h, w] in -1..1.

    Mean colour of the border, its deviation there (a texture's is large), the colour of what differs most from it (the
    glyph's), and how steep edges are (blurred ones are flat).
    """
    edge = torch.ones(images.shape[-2:], dtype=torch.bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    border = images[..., edge]
    background = border.mean(-1)
    apart = (images - background[..., None, None]).square().sum(1, keepdim=True)
    glyph = (images * apart).sum((2, 3)) / apart.sum((2, 3)).clamp(min=1e-6)
    steepness = images.diff(dim=-1).abs().mean((1, 2, 3))[:, None]
    return torch.cat([background, border.std(-1), glyph, steepness], 1)


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The batch moved by up to two pixels, edges repeated."""
    across, down = rng.integers(0, 5, 2)
    size = images.shape[-1]
    return F.pad(images, (2, 2, 2, 2), mode="replicate")[..., down : down + size, across : across + size]


def train(images: np.ndarray, labels: np.ndarray, steps: int, batch: int, seed: int) -> DigitsCnn:
    """The encoder after `steps`; the heads that teach it are left behind. All but the last HELD_OUT images are used."""
    torch.manual_seed(derive(seed, "encoder"))
    network = DigitsCnn()
    heads = nn.Linear(network.num_features, CHARACTERS + APPEARANCE)
    parameters = [*network.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-3)
    pixels, classes = as_input(images[:-HELD_OUT]), torch.from_numpy(labels[:-HELD_OUT])
    looks = appearance(pixels)
    looks = (looks - looks.mean(0)) / looks.std(0)
    lr_scheduler = schedule_rates(optimiser, one_cycle(steps))
    for step in range(steps):
        rng = np.random.default_rng(derive(seed, "encoder", step))
        chosen = torch.from_numpy(rng.integers(len(pixels), size=batch))
        character, look = heads(network(shifted(pixels[chosen], rng))).split([CHARACTERS, APPEARANCE], 1)
        loss = F.cross_entropy(character, classes[chosen]) + F.mse_loss(look, looks[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        lr_scheduler.step()
        if (step + 1) % 500 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    tell(network.eval(), heads, images[-HELD_OUT:], labels[-HELD_OUT:])
    return network


@torch.inference_mode()
def tell(network: DigitsCnn, heads: nn.Linear, images: np.ndarray, labels: np.ndarray) -> None:
    """Print how it does on glyphs that it was not trained on."""
    said, looks = heads(network(as_input(images))).split([CHARACTERS, APPEARANCE], 1)
    right = (said.argmax(1).numpy() == labels).mean()
    true = appearance(as_input(images))
    error = (looks - (true - true.mean(0)) / true.std(0)).square().mean().item()
    print(
        f"held out: {100 * right:.1f} % of characters right, {100 * (1 - error):.1f} % of the variance of looks"
    )


@torch.inference_mode()
def statistics(network: DigitsCnn, images: np.ndarray) -> dict[str, Tensor]:
    """Means and deviations of the features of `images`, [num_features] each."""
    features = torch.cat([network(part) for part in as_input(images).split(1000)])
    return {"mean": features.mean(0), "deviation": features.std(0)}


def main(arguments: list[str] | None = None) -> None:
    """Draw, train, write."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.diffusion.mini.encoder", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the drawn images")
    parser.add_argument("--out", type=Path, default=ENCODER, help="file to write (default: %(default)s)")
    parser.add_argument("--images", type=int, default=16000, help="glyphs to draw (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4000, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=64, help="images per step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    drawn, started = options.work / f"encoder_{options.images}_{options.seed}.npz", time.perf_counter()
    if not drawn.exists():
        images, labels = make_pool(options.images, derive(options.seed, "encoder"), workers=1)
        np.savez(drawn, images=images, labels=labels)
        print(f"drew {len(images)} glyphs in {time.perf_counter() - started:.0f} s", flush=True)
    with np.load(drawn) as pool:
        images, labels = pool["images"], pool["labels"]
    network = train(images, labels, options.steps, options.batch, options.seed)
    tensors = network.state_dict() | statistics(network, images)
    write_atomic(options.out, save(tensors, metadata={"format": "pt", "backbone": "digits_cnn"}))
    print(f"wrote {options.out} after {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
