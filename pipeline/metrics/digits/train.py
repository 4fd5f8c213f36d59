"""Train the network `digits`, on a CPU core in about two minutes.

    python -m pipeline.metrics.digits.train

It learns to tell apart the 40 combinations of a digit and a domain of the digits benchmark, so that its features know
both what is drawn and in which style. It has seen the labels of all domains: a measure for pictures, which nothing
that is trained and tested on these domains may look at.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from pipeline.backbones import DigitsCnn
from pipeline.config import read_card
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import shuffled
from pipeline.core.store import write_atomic
from pipeline.data import prepare
from pipeline.data.image_sets import load_labelled
from pipeline.metrics.networks import DIGITS_WEIGHTS, normalised
from pipeline.planning.kinds.prepare import PrepareParams

STEPS, BATCH, RATE = 1500, 64, 3e-3


def load(folder: Path, split: str) -> tuple[np.ndarray, torch.Tensor]:
    """All domains' images of a split, uint8 [n, 32, 32, 3], and which of the 40 combinations each is."""
    card = read_card("digits")
    sets = [load_labelled(folder, domain, split) for domain in card.domains]
    labels = [images.labels + len(card.classes) * place for place, images in enumerate(sets)]
    return np.concatenate([images.images for images in sets]), torch.from_numpy(np.concatenate(labels))


def train(folder: Path) -> nn.Module:
    """folder: a prepare artifact of the digits. Returns the network; prints how many test images it recognises."""
    torch.manual_seed(0)
    network = DigitsCnn()
    images, labels = load(folder, "train")
    head = nn.Linear(network.num_features, int(labels.max()) + 1)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(STEPS):
        chosen = shuffled(len(images), step * BATCH, (step + 1) * BATCH, seed=0)
        loss = F.cross_entropy(head(network(normalised(images[chosen], network))), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    images, labels = load(folder, "test")
    with torch.inference_mode():
        right = head(network(normalised(images, network))).argmax(1) == labels
    print(f"{right.double().mean():.1%} of {len(labels)} test images: their digit and their domain")
    return network


def main() -> None:
    """Write weights.safetensors."""
    with tempfile.TemporaryDirectory() as name, reproducible(threads=1):
        prepare.run(PrepareParams(card=read_card("digits")), {}, Path(name), lambda done, total, what: None)
        network = train(Path(name))
    held = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    write_atomic(DIGITS_WEIGHTS, save({key: value.contiguous() for key, value in held.items()}))


if __name__ == "__main__":
    main()
