"""The stage `t_predictor`: train a network on images and their domains, and predict the t of every image.

Labels are never read: the network does not know a class.
"""

import json
import math
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from sklearn.metrics import silhouette_score
from torch import Tensor

from pipeline.config import TPredictorSettings
from pipeline.core.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from pipeline.core.device_batches import on_device, pinned
from pipeline.core.errors import Remark, UserError
from pipeline.core.prefetch import prefetch
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive, shuffled
from pipeline.core.stage import Progress
from pipeline.core.step_losses import LOOK_EVERY, StepLosses, first_not_finite
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
    predictor: Predictor, images: Tensor, domains: Tensor, settings: TPredictorSettings
) -> dict[str, Tensor]:
    """Compute the parts of the loss of a batch, by name.

    Args:
        predictor: The network.
        images: uint8 [n, H, W, 3], on any device.
        domains: The domain of each image, int64 [n], on the network's device.
        settings: The weights of the parts.
    """
    t = predictor(images)
    same, different = contrastive(t, domains, settings.margin)
    parts = {"same": same, "different": different}
    if settings.gaussian:
        parts["gaussian"] = settings.gaussian * gaussian(t, settings.covariance_floor)
    return parts


class PredictorTraining:
    """The training of a t-predictor, which resumes from `checkpoint` if that file exists.

    A step waits for no number from the GPU (but the Gaussian part's Cholesky factor does). Losses are looked
    at every few steps.

    Attributes:
        log: For each step whose losses were looked at, its number from 0, the loss and its parts, by name.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: np.ndarray,
        domains: np.ndarray,
        settings: TPredictorSettings,
        checkpoint: Path,
    ) -> None:
        self.predictor, self.images, self.domains, self.settings = predictor, images, domains, settings
        self.device, self.checkpoint = predictor.centre.device, checkpoint
        self.optimizer = torch.optim.Adam(predictor.parameters(), lr=settings.learning_rate)
        self.losses, self.names = StepLosses(), ["loss"]
        self.log: list[dict[str, float]] = []
        restored = load_checkpoint(checkpoint, self.optimizer)
        if restored is not None:
            tensors, self.log = restored
            predictor.load_state_dict(tensors)

    def run(self, progress: Progress) -> None:
        """Train to the last step.

        Raises:
            UserError: The loss became NaN or infinite. The message names the first such step.
        """
        settings, first = self.settings, len(self.log)
        steps = math.ceil(settings.epochs * len(self.images) / settings.batch_size)
        ahead = 1 if self.device.type == "cuda" else 0
        self.predictor.train()
        with closing(prefetch(self._batch, range(first, steps), ahead)) as batches:
            for step, (images, domains) in enumerate(on_device(batches, self.device), first):
                self._step(step, images, domains)
                saving = (step + 1) % settings.checkpoint_every == 0 and step + 1 < steps
                if saving or (step + 1) % LOOK_EVERY[self.device.type] == 0 or step + 1 == steps:
                    self._look()
                if saving:
                    save_checkpoint(self.checkpoint, self.predictor.state_dict(), self.optimizer, self.log)
                progress(step + 1, steps, f"loss {self.log[-1]['loss'] if self.log else math.nan:.3f}")

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images of a step and their domains. Runs in any thread."""
        size, order = self.settings.batch_size, derive(self.settings.seed, "t_predictor batches")
        chosen = shuffled(len(self.images), step * size, (step + 1) * size, order)
        domains = torch.from_numpy(self.domains[chosen])
        return pinned((self.predictor.read(self.images[chosen]), domains), self.device)

    def _step(self, step: int, images: Tensor, domains: Tensor) -> None:
        parts = losses(self.predictor, images, domains, self.settings)
        loss = sum(parts.values(), start=torch.zeros((), device=self.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.names = ["loss", *parts]
        self.losses.add(step, [loss, *parts.values()])

    def _look(self) -> None:
        """Append the losses since the last look to the log, unless one is NaN or infinite."""
        looked_at = self.losses.look()
        if found := first_not_finite(looked_at):
            raise UserError(f"the loss became {found[1]} at step {found[0]}; lower t_predictor.learning_rate")
        self.log += [
            {"step": step} | dict(zip(self.names, values, strict=True)) for step, values in looked_at
        ]


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
        training = PredictorTraining(predictor, images, domains, params.settings, checkpoint)
        training.run(progress)
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
    write_atomic(
        workspace / "losses.csv",
        pd.DataFrame(training.log).to_csv(index=False, float_format="%.6g", lineterminator="\n"),
    )
    write_atomic(workspace / "summary.json", json.dumps(summary, indent=1) + "\n")
