"""Train the network `digits`, in about two minutes on one CPU core.

    python -m pipeline.metrics.digits.train

It learns to classify the 40 pairs of a digit and a domain of the digits benchmark, so that its features
describe both what an image shows and its style. It has seen the labels of all domains. It may therefore
measure images, but nothing that is trained and tested on these domains may use it.
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
from pipeline.data.image_sets import Split, load_labelled
from pipeline.metrics.networks import DIGITS_WEIGHTS, normalised
from pipeline.planning.kinds.prepare import PrepareParams

STEPS, BATCH_SIZE, LEARNING_RATE = 1500, 64, 3e-3


def load(folder: Path, split: Split) -> tuple[np.ndarray, torch.Tensor]:
    """Load the images of a split of all domains.

    Returns:
        The images, uint8 [n, 32, 32, 3], and their classes in [0, 40), int64 [n].
    """
    card = read_card("digits")
    sets = [load_labelled(folder, domain, split) for domain in card.domains]
    offsets = len(card.classes) * np.arange(len(sets))
    labels = [np.asarray(images.labels) + offset for images, offset in zip(sets, offsets, strict=True)]
    return np.concatenate([images.images for images in sets]), torch.from_numpy(np.concatenate(labels))


def train(folder: Path) -> nn.Module:
    """Train the network and print its test accuracy.

    Args:
        folder: A prepare artifact of the digits.
    """
    torch.manual_seed(0)
    network = DigitsCnn()
    images, labels = load(folder, "train")
    head = nn.Linear(network.num_features, int(labels.max()) + 1)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        chosen = shuffled(len(images), step * BATCH_SIZE, (step + 1) * BATCH_SIZE, seed=0)
        loss = F.cross_entropy(head(network(normalised(images[chosen], network))), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    images, labels = load(folder, "test")
    with torch.inference_mode():
        correct = head(network(normalised(images, network))).argmax(1) == labels
    print(f"{correct.double().mean():.1%} of {len(labels)} test images: digit and domain are correct")
    return network


def main() -> None:
    """Train the network and write weights.safetensors."""
    with tempfile.TemporaryDirectory() as name, reproducible(threads=1):
        prepare.run(PrepareParams(card=read_card("digits")), {}, Path(name), lambda done, total, what: None)
        network = train(Path(name))
    state = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    write_atomic(DIGITS_WEIGHTS, save({key: value.contiguous() for key, value in state.items()}))


if __name__ == "__main__":
    main()
