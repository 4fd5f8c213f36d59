"""The stage `t_predictor`: train a network on images and their domains, and predict the t of every image.

Labels are never read: the network does not know a class.
"""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from sklearn.metrics import silhouette_score

from pipeline.config import TPredictorSettings
from pipeline.core.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from pipeline.core.errors import Remark, UserError
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive, shuffled
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, Split, load_unlabelled
from pipeline.diffusion.t_predictor.loss import contrastive, gaussian
from pipeline.diffusion.t_predictor.model import Predictor, make_predictor
from pipeline.diffusion.t_predictor.times import FILE, TOLERANCE, spread, t_columns, times_table, write_times
from pipeline.planning.kinds.t_predictor import TPredictorParams

SILHOUETTE_IMAGES = 5000
"""The largest number of images of the silhouette, which needs all pairwise distances."""

SPLITS: tuple[Split, ...] = ("train", "test")


def losses(
    predictor: Predictor, images: np.ndarray, domains: np.ndarray, settings: TPredictorSettings
) -> dict[str, torch.Tensor]:
    """Compute the parts of the loss of a batch, by name.

    Args:
        predictor: The network.
        images: uint8 [n, H, W, 3], or object [n], paths of files.
        domains: The domain of each image, int64 [n].
        settings: The weights of the parts.
    """
    t = predictor(predictor.read(images))
    same, different = contrastive(t, torch.from_numpy(domains).to(t.device), settings.margin)
    parts = {"same": same, "different": different}
    if settings.gaussian:
        parts["gaussian"] = settings.gaussian * gaussian(t, settings.covariance_floor)
    return parts


def train_predictor(
    predictor: Predictor,
    images: np.ndarray,
    domains: np.ndarray,
    settings: TPredictorSettings,
    checkpoint: Path,
    progress: Progress,
) -> pd.DataFrame:
    """Train the network, resuming from `checkpoint` if that file exists.

    Returns:
        The loss and its parts of each step: columns step, loss, and one for each part.

    Raises:
        UserError: The loss became NaN or infinite.
    """
    optimizer = torch.optim.Adam(predictor.parameters(), lr=settings.learning_rate)
    steps = math.ceil(settings.epochs * len(images) / settings.batch_size)
    log: list[dict[str, float]] = []
    restored = load_checkpoint(checkpoint, optimizer)
    if restored is not None:
        tensors, log = restored
        predictor.load_state_dict(tensors)
    predictor.train()
    order, size = derive(settings.seed, "t_predictor batches"), settings.batch_size
    for step in range(len(log), steps):
        chosen = shuffled(len(images), step * size, (step + 1) * size, order)
        parts = losses(predictor, images[chosen], domains[chosen], settings)
        loss = sum(parts.values(), start=torch.zeros(()))
        if not torch.isfinite(loss):
            raise UserError(f"the loss became {loss.item()} at step {step}; lower t_predictor.learning_rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log.append({"step": step, "loss": loss.item()} | {name: part.item() for name, part in parts.items()})
        if (step + 1) % settings.checkpoint_every == 0 and step + 1 < steps:
            save_checkpoint(checkpoint, predictor.state_dict(), optimizer, log)
        progress(step + 1, steps, f"loss {loss.item():.3f}")
    return pd.DataFrame(log)


def summarise(times: pd.DataFrame) -> dict[str, Any]:
    """Summarise the rows of times.csv for summary.json.

    Returns:
        silhouette: The silhouette of t by domain, over test images; None if there are too few.
        domains: The number of images, and the mean and standard deviation of t, of each domain.
        low, high: The range of t.
        spread: See `times.spread`.
        tolerance: The largest spread of a degenerate predictor.
        degenerate: Whether the predictor is degenerate.
    """
    columns, test = t_columns(times), times[times["split"] == "test"]
    t = times[columns].to_numpy(np.float64)
    silhouette = None
    if len(test) > times["domain"].nunique():
        size = SILHOUETTE_IMAGES if len(test) > SILHOUETTE_IMAGES else None
        silhouette = float(silhouette_score(test[columns], test["domain"], sample_size=size, random_state=0))
    domains = {
        str(domain): {
            "images": len(rows),
            "mean": rows[columns].mean().tolist(),
            "std": rows[columns].std(ddof=0).tolist(),
        }
        for domain, rows in times.astype(dict.fromkeys(columns, np.float64)).groupby("domain", sort=False)
    }
    return {
        "silhouette": silhouette,
        "domains": domains,
        "low": t.min(axis=0).tolist(),
        "high": t.max(axis=0).tolist(),
        "spread": spread(t),
        "tolerance": TOLERANCE,
        "degenerate": spread(t) <= TOLERANCE,
    }


def run(params: TPredictorParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make predictor.safetensors, times.csv, losses.csv and summary.json (see `summarise`).

    Warns if the predictor is degenerate: if it predicts nearly the same t for all images.

    Args:
        params: The job's parameters.
        inputs: `data`, a prepare artifact, whose labels are not read.
        workspace: Where the files are written.
        progress: Called after each step.
    """
    with reproducible(params.threads):
        predictor = make_predictor(params)
        sets: dict[tuple[str, Split], ImageSet] = {
            (domain, split): load_unlabelled(inputs["data"], domain, split)
            for domain in params.domains
            for split in SPLITS
        }
        train = [sets[domain, "train"].images for domain in params.domains]
        images = np.concatenate(train)
        domains = np.repeat(np.arange(len(train)), [len(part) for part in train])
        checkpoint = workspace / "scratch" / CHECKPOINT
        log = train_predictor(predictor, images, domains, params.settings, checkpoint, progress)
        times = pd.concat(
            [
                times_table(domain, split, some.names, predictor.predict(some.images))
                for (domain, split), some in sets.items()
            ]
        )
    summary = summarise(times)
    if summary["degenerate"]:
        mean = times[t_columns(times)].mean().round(4).tolist()
        warnings.warn(
            f"the t-predictor of {', '.join(params.domains)} is degenerate: all t lie within a spread of "
            f"{summary['spread']:.2g} (at most {TOLERANCE}) around {mean}",
            Remark,
            stacklevel=2,
        )
    weights = {name: tensor.contiguous().cpu() for name, tensor in predictor.state_dict().items()}
    write_atomic(workspace / "predictor.safetensors", save(weights))
    write_times(workspace / FILE, times)
    write_atomic(workspace / "losses.csv", log.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_atomic(workspace / "summary.json", json.dumps(summary, indent=1) + "\n")
