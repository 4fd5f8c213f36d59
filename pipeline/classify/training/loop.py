"""The one training loop of every method: data, optimiser, schedule, precision, evaluation, checkpoints.

It computes on a GPU if there is one. In half precision only the network's passes are: weights are fp32, and so is
what a method sees, for its losses may have logarithms of probabilities near 0.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.classify.evaluation.selection import Evaluation, held_out_scores, predict
from pipeline.classify.method import Method, Outputs, Step
from pipeline.classify.network import Network
from pipeline.classify.training.batches import Labelled, Pool, target_batch
from pipeline.classify.training.dg_batches import DomainBatches
from pipeline.classify.training.optimizers import make_optimizer, rate_schedule
from pipeline.classify.training.prefetch import ahead
from pipeline.classify.training.sam import perturbed
from pipeline.classify.training.swad import Averaging, estimate_statistics
from pipeline.config import TrainSettings
from pipeline.core.checkpoint import load_checkpoint, save_checkpoint
from pipeline.core.errors import UserError
from pipeline.core.lr_schedule import schedule_rates
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The precisions that are not fp32."""

HISTORY_ROWS = 50
"""Rows of a history besides those of evaluations."""

STATISTICS_STEPS = 500
"""The steps whose images give an averaged network its BatchNorm statistics, as many as in the authors' code."""


class Diverged(UserError):
    """Training came to numbers that are none."""


@dataclass(frozen=True)
class Watched:
    """What is evaluated, after every `every` steps and at the end.

    held_out: for each source domain the labelled images that are not trained on, under uda its test split.
    target: the target's test split, unlabelled.
    """

    held_out: Sequence[Pool]
    target: Pool
    every: int


class Loop:
    """One training. `run` starts it, or goes on from the file `checkpoint` if that is there.

    target: unlabelled target images, None if the method does not use them. watched: None to evaluate nothing,
    which averaging cannot do without. averaged: what the average is over, after a `run` with averaging.
    """

    def __init__(
        self,
        network: Network,
        method: Method,
        labelled: Labelled | DomainBatches,
        target: Pool | None,
        watched: Watched | None,
        settings: TrainSettings,
        seed: int,
        checkpoint: Path,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if settings.precision == "fp16" and self.device.type == "cpu":
            raise UserError("train.precision: fp16 needs a GPU, and there is none here; use bf16 or fp32")
        self.network, self.method = network.to(self.device), method.to(self.device)
        self.labelled, self.target, self.watched = labelled, target, watched
        self.settings, self.seed, self.checkpoint = settings, seed, checkpoint
        self.optimizer = make_optimizer(network, method, settings)
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(settings))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.done = 0
        self.evaluations: list[Evaluation] = []
        self.history: list[dict[str, float]] = []
        self.averaging = Averaging(network, settings.swad) if settings.averaging == "swad" else None
        self.averaged: dict[str, Any] | None = None
        self.sums: dict[str, float] = {}
        self.summed = 0

    def run(self, progress: Progress) -> None:
        """Train to the end; fills `evaluations` and `history`. Diverged if a loss is no longer finite."""
        self._resume()
        self.network.train()
        self._check_batch()
        total = self.settings.iterations
        with closing(ahead(self._batch, range(self.done, total), self.settings.workers)) as batches:
            for batch in batches:
                if self.averaging and self.averaging.ended:
                    break
                loss = self._step(*batch)
                self.done += 1
                if self.averaging:
                    self.averaging.add()
                self._record()
                if self.done % self.settings.checkpoint_every == 0 and self.done < total:
                    self._save()
                progress(self.done, total, f"loss {loss:.3f}")
        if self.averaging:
            self._average(self.averaging, self.watched)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images of a step, labelled and then target ones, and the labels of the former. Runs in any thread."""
        size = self.settings.batch_size
        images, labels = self.labelled.batch(step, size, self.seed)
        if self.target is not None:
            images = torch.cat([images, target_batch(self.target, step, size, self.seed)])
        return images, labels

    def _check_batch(self) -> None:
        """UserError if BatchNorm would see one image at a time, whose deviation from its own mean is nothing."""
        domains, _ = self.labelled.groups(self.settings.batch_size)
        if len(domains) == 1 and self.target is None and self.network.needs_several_images():
            raise UserError(
                "train.batch_size: BatchNorm layers need at least 2 images in a step, not 1; raise it"
            )

    def _step(self, images: Tensor, labels: Tensor) -> float:
        """One update of the weights, on a `_batch`; the loss before it."""
        with nullcontext() if self.method.rho is None else self._perturbed(images, labels):
            self._seed_dropout()
            losses = self.method.losses(self._forward(images, labels))
            loss = sum(losses.values())
            self.sums = {name: self.sums.get(name, 0.0) + value.item() for name, value in losses.items()}
            self.summed += 1
            if not math.isfinite(loss.item()):
                raise self._diverged(f"the loss became {loss.item()}")
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
        self._update()
        return loss.item()

    def _update(self) -> None:
        """The optimiser's step, with the gradient clipped if it is to be; none if it overflowed in fp16."""
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.lr_scheduler.step()

    def _perturbed(self, images: Tensor, labels: Tensor) -> AbstractContextManager[None]:
        """The network moved to where a sharpness-aware method wants the gradient of this step."""
        self._seed_dropout()
        ascent = sum(self.method.ascent(self._forward(images, labels)).values())
        # Scaled as the loss is, for else it could vanish in fp16. Where only its direction counts that changes nothing.
        scale, alpha = self.scaler.get_scale(), self.method.alpha
        ascent = self.scaler.scale(ascent)
        return perturbed(self.network, ascent, self.method.rho, None if alpha is None else alpha / scale)

    def _seed_dropout(self) -> None:
        """Dropout and its like are the same in all passes of a step."""
        seed = derive(self.seed, "step", self.done)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _forward(self, images: Tensor, labels: Tensor) -> Step:
        """The step's images, both halves in one pass through the network."""
        count, images = len(labels), images.to(self.device)
        features, logits = self._through_network(images)
        target = Outputs(features[count:], logits[count:]) if self.target is not None else None
        labelled = Outputs(features[:count], logits[:count])
        progress = self.done / self.settings.iterations
        domains, weights = self.labelled.groups(self.settings.batch_size)
        weights = None if weights is None else weights.to(self.device)
        labels, domains = labels.to(self.device), domains.to(self.device)
        return Step(labelled, labels, target, progress, domains, weights, images[:count])

    def _through_network(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits, in fp32 whatever the precision of the pass."""
        half = HALF.get(self.settings.precision)
        with nullcontext() if half is None else torch.autocast(self.device.type, half):
            features, logits = self.network(images)
        return features.float(), logits.float()

    def _record(self) -> None:
        """Evaluate if it is time, and add a row to the history if it is time for that."""
        last = self.done == self.settings.iterations
        due = self.watched is not None and (last or self.done % self.watched.every == 0)
        if not (due or last or self.done % math.ceil(self.settings.iterations / HISTORY_ROWS) == 0):
            return
        row = {"iteration": self.done} | {name: value / self.summed for name, value in self.sums.items()}
        if due:
            row |= self._evaluate(self.watched)
        self.history.append(row)
        self.sums, self.summed = {}, 0

    def _evaluate(self, watched: Watched) -> dict[str, float]:
        """Evaluate the network as it is; what the history keeps of that."""
        accuracy, loss = held_out_scores(self.network, watched.held_out)
        if self.averaging:
            self.averaging.close(self.done, loss)
            return {"source_accuracy": accuracy, "source_loss": loss}
        self.evaluations.append(Evaluation(self.done, accuracy, predict(self.network, watched.target)))
        return {"source_accuracy": accuracy}

    def _average(self, averaging: Averaging, watched: Watched) -> None:
        """Make the network the average, which is all that there is to select."""
        self.averaged = averaging.finish()
        if self.averaged["converged"]:
            self._seed_dropout()
            steps = range(min(self.done, STATISTICS_STEPS))
            estimate_statistics(self.network, (self._batch(step)[0].to(self.device) for step in steps))
        accuracy, _ = held_out_scores(self.network, watched.held_out)
        self.evaluations = [Evaluation(self.done, accuracy, predict(self.network, watched.target))]

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"network": self.network, "method": self.method}

    def _save(self) -> None:
        tensors = {
            f"{name}.{key}": value
            for name, module in self._modules().items()
            for key, value in module.state_dict().items()
        }
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise self._diverged("the weights became infinite or NaN")
        for index, one in enumerate(self.evaluations):
            tensors[f"probabilities.{index}"] = one.probabilities
        averaging, averaging_about = self.averaging.state() if self.averaging else ({}, None)
        tensors |= {f"averaging.{name}": tensor for name, tensor in averaging.items()}
        about = {
            "done": self.done,
            "history": self.history,
            "sums": self.sums,
            "summed": self.summed,
            "evaluations": [(one.step, one.source_accuracy) for one in self.evaluations],
            "scaler": self.scaler.state_dict(),
            "averaging": averaging_about,
        }
        save_checkpoint(self.checkpoint, tensors, self.optimizer, about)

    def _resume(self) -> None:
        """Take over the state of the last checkpoint, if there is one."""
        restored = load_checkpoint(self.checkpoint, self.optimizer)
        if restored is None:
            return
        tensors, about = restored
        for name, module in self._modules().items():
            module.load_state_dict(_under(f"{name}.", tensors))
        self.scaler.load_state_dict(about["scaler"])
        self.done, self.history = about["done"], about["history"]
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(self.settings), self.done)
        self.sums, self.summed = about["sums"], about["summed"]
        if self.averaging:
            self.averaging.load(_under("averaging.", tensors), about["averaging"])
        self.evaluations = [
            Evaluation(step, accuracy, tensors[f"probabilities.{index}"])
            for index, (step, accuracy) in enumerate(about["evaluations"])
        ]

    def _diverged(self, what: str) -> Diverged:
        kept = f"; the last good checkpoint, {self.checkpoint}, is kept" if self.checkpoint.exists() else ""
        return Diverged(
            f"method {self.method.name}: {what} at step {self.done + 1} of {self.settings.iterations}; "
            f"try a lower train.learning_rate than {self.settings.learning_rate:g}{kept}"
        )


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
