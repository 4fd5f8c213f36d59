"""The `t_predictor` stage: learn to tell t from images and their domains, and predict the t of every image.

It never knows a class: labels are not read.
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
from pipeline.core.checkpoint import load_checkpoint, save_checkpoint
from pipeline.core.errors import Remark, UserError
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive, shuffled
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import load_unlabelled
from pipeline.diffusion.t_predictor.loss import contrastive, gaussian
from pipeline.diffusion.t_predictor.model import Predictor, make_predictor
from pipeline.diffusion.t_predictor.times import FILE, TOLERANCE, spread, t_columns, times_table, write_times
from pipeline.planning.kinds.t_predictor import TPredictorParams

SCORED = 5000
"""The most images that the silhouette is computed of, for it takes all their distances."""


def losses(
    predictor: Predictor, images: np.ndarray, domains: np.ndarray, settings: TPredictorSettings
) -> dict[str, torch.Tensor]:
    """The parts of the loss on a batch: images uint8 [n, H, W, 3] or files, domains int64 [n]."""
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
    """Train to the end, from `checkpoint` if it is there. Returns step, loss and the loss's parts of each step."""
    optimizer = torch.optim.Adam(predictor.parameters(), lr=settings.learning_rate)
    steps, log = math.ceil(settings.epochs * len(images) / settings.batch_size), []
    if checkpoint.exists():
        tensors, log = load_checkpoint(checkpoint, optimizer)
        predictor.load_state_dict(tensors)
    predictor.train()
    order, size = derive(settings.seed, "t_predictor batches"), settings.batch_size
    for step in range(len(log), steps):
        chosen = shuffled(len(images), step * size, (step + 1) * size, order)
        parts = losses(predictor, images[chosen], domains[chosen], settings)
        loss = sum(parts.values())
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
    """What summary.json says of `times`, the rows of times.csv.

    silhouette: of t by domain, over test images; None if there are too few. domains: images, and mean and standard
    deviation of t, of each. low, high: the range of t. spread: see times.spread; degenerate: at most `tolerance`.
    """
    columns, test = t_columns(times), times[times["split"] == "test"]
    t, several = times[columns].to_numpy(np.float64), len(test) > times["domain"].nunique()
    score = None
    if several:
        size = SCORED if len(test) > SCORED else None
        score = float(silhouette_score(test[columns], test["domain"], sample_size=size, random_state=0))
    about = {
        domain: {
            "images": len(rows),
            "mean": rows[columns].mean().tolist(),
            "std": rows[columns].std(ddof=0).tolist(),
        }
        for domain, rows in times.astype(dict.fromkeys(columns, np.float64)).groupby("domain", sort=False)
    }
    return {
        "silhouette": score,
        "domains": about,
        "low": t.min(axis=0).tolist(),
        "high": t.max(axis=0).tolist(),
        "spread": spread(t),
        "tolerance": TOLERANCE,
        "degenerate": spread(t) <= TOLERANCE,
    }


def run(params: TPredictorParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make predictor.safetensors, times.csv, losses.csv and summary.json (see `summarise`).

    inputs: `data`, a prepare artifact. Warns if the predictor is degenerate: if it gives all images one t.
    """
    with reproducible(params.threads):
        predictor = make_predictor(params)
        sets = {
            (domain, split): load_unlabelled(inputs["data"], domain, split)
            for domain in params.domains
            for split in ("train", "test")
        }
        train = [sets[domain, "train"].images for domain in params.domains]
        images = np.concatenate(train)
        domains = np.repeat(np.arange(len(train)), [len(part) for part in train])
        checkpoint = workspace / "scratch" / "checkpoint.safetensors"
        log = train_predictor(predictor, images, domains, params.settings, checkpoint, progress)
        times = pd.concat(
            [times_table(*key, found.names, predictor.predict(found.images)) for key, found in sets.items()]
        )
    summary = summarise(times)
    if summary["degenerate"]:
        warnings.warn(
            f"the t-predictor of {', '.join(params.domains)} is degenerate: all t lie within a spread of "
            f"{summary['spread']:.2g} (at most {TOLERANCE}) around {times[t_columns(times)].mean().round(4).tolist()}",
            Remark,
            stacklevel=2,
        )
    weights = {name: tensor.contiguous().cpu() for name, tensor in predictor.state_dict().items()}
    write_atomic(workspace / "predictor.safetensors", save(weights))
    write_times(workspace / FILE, times)
    write_atomic(workspace / "losses.csv", log.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_atomic(workspace / "summary.json", json.dumps(summary, indent=1) + "\n")
