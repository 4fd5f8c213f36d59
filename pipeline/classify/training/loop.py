"""The training loop of every method: data, optimiser, schedule, precision, evaluation, checkpoints.

It computes on a GPU if there is one. In half precision, only the network's passes are: weights are float32,
and so are the features and logits that a method gets, because its losses may take logarithms of probabilities
near 0.

A step waits for no number from the GPU, so that the next one can be queued meanwhile (fp16's scaler alone
waits once). Losses stay on the device, and are looked at every few steps. The next batch is copied to the GPU
meanwhile.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.classify.evaluation.selection import Evaluation, EvaluationSets, held_out_scores, predict
from pipeline.classify.method import Method, Step, Update, total
from pipeline.classify.network import Network
from pipeline.classify.training.batches import LabelledBatches, Pool, target_batch
from pipeline.classify.training.dg_batches import DomainBatches
from pipeline.classify.training.loss_log import LossLog
from pipeline.classify.training.optimizers import make_optimizer, rate_schedule, update_weights
from pipeline.classify.training.passes import Passes, place
from pipeline.classify.training.sam import perturbed
from pipeline.classify.training.swad import Averaging, estimate_statistics
from pipeline.config import TrainSettings
from pipeline.core.checkpoint import load_checkpoint, save_checkpoint
from pipeline.core.device_batches import on_device, pinned
from pipeline.core.errors import UserError
from pipeline.core.lr_schedule import schedule_rates
from pipeline.core.prefetch import prefetch
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.step_losses import LOOK_EVERY

HISTORY_ROWS = 50
"""The number of rows of history.csv, besides those of evaluations."""

STATISTICS_STEPS = 500
"""The steps whose images give an averaged network its BatchNorm statistics, as in the authors' code."""


class Diverged(UserError):
    """Training produced NaN or infinity."""


class Loop:
    """One training. `run` starts it, or resumes it from its checkpoint.

    Args:
        network: The network to train.
        method: The method that computes the loss.
        labelled: The labelled batches.
        target: The unlabelled target images; None if the method does not use them.
        evaluated: The sets to evaluate; None to evaluate nothing, which averaging cannot do without.
        settings: The settings of the training.
        seed: Decides batches, their augmentation, and dropout.
        checkpoint: The file of the checkpoint.

    Attributes:
        evaluations: The evaluations so far. With averaging, one, of the averaged network, after `run`.
        history: The rows of history.csv so far.
        averaged: What the network is the average of, after `run` with averaging (see Averaging.finish).
    """

    def __init__(
        self,
        network: Network,
        method: Method,
        labelled: LabelledBatches | DomainBatches,
        target: Pool | None,
        evaluated: EvaluationSets | None,
        settings: TrainSettings,
        seed: int,
        checkpoint: Path,
    ) -> None:
        self.device = place(network, settings)
        self.network, self.method = network, method.to(self.device)
        self.labelled, self.target, self.evaluated = labelled, target, evaluated
        self.settings, self.seed, self.checkpoint = settings, seed, checkpoint
        self.passes = Passes(network, method, settings)
        domains, weights = labelled.groups(settings.batch_size)
        self.domain_sizes = tuple(domains.bincount().tolist())
        self.domains = domains.to(self.device)
        self.weights = None if weights is None else weights.to(self.device)
        self.optimizer = make_optimizer(network, method, settings)
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(settings))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.done = 0
        self.evaluations: list[Evaluation] = []
        self.history: list[dict[str, float]] = []
        self.averaging = Averaging(network, settings.swad) if settings.averaging == "swad" else None
        self.averaged: dict[str, Any] | None = None
        self.losses = LossLog()

    def run(self, progress: Progress) -> None:
        """Train to the end, and fill `evaluations` and `history`.

        Raises:
            Diverged: The loss or a weight became NaN or infinite.
        """
        self._resume()
        self.network.train()
        self._check_batch()
        steps = self.settings.iterations
        with closing(prefetch(self._batch, range(self.done, steps), self.settings.workers)) as batches:
            for batch in on_device(batches, self.device):
                if self.averaging and self.averaging.ended:
                    break
                self._step(*batch)
                self.done += 1
                if self.done % LOOK_EVERY[self.device.type] == 0:
                    self._look()
                if self.averaging:
                    self.averaging.add()
                self._record()
                if self.done % self.settings.checkpoint_every == 0 and self.done < steps:
                    self._save()
                progress(self.done, steps, f"loss {self.losses.last:.3f}")
        self._look()
        if self.averaging and self.evaluated:
            self._average(self.averaging, self.evaluated)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images of a step, labelled and then target images, and the labels. Runs in any thread."""
        size = self.settings.batch_size
        images, labels = self.labelled.batch(step, size, self.seed)
        if self.target is not None:
            images = torch.cat([images, target_batch(self.target, step, size, self.seed)])
        if self.device.type == "cuda":
            images = images.contiguous(memory_format=torch.channels_last)
        return pinned((images, labels), self.device)

    def _check_batch(self) -> None:
        """Raise UserError if BatchNorm would get one image, whose deviation from its own mean is zero."""
        alone = self.target is None or self.method.separate_passes
        if len(self.domains) == 1 and alone and self.network.needs_several_images():
            raise UserError(
                "train.batch_size: BatchNorm layers need at least 2 images in a step, not 1; raise it"
            )

    def _step(self, images: Tensor, labels: Tensor) -> None:
        """Update the weights by a batch, without waiting for a number from the device."""
        terms: dict[str, Tensor] = {}
        for number, update in enumerate(self.method.updates()):
            of_update = self._backward(images, labels, update, number)
            update_weights(self.optimizer, self.scaler, update.groups, self.settings.clip_norm)
            terms |= of_update
        self.lr_scheduler.step()
        self.losses.add_terms(terms)

    def _look(self) -> None:
        """Look at the losses of the steps since the last look.

        Raises:
            Diverged: One of them is NaN or infinite. The message names the first such step.
        """
        if found := self.losses.look():
            raise self._diverged(f"the loss became {found[1]}", found[0])

    def _backward(self, images: Tensor, labels: Tensor, update: Update, number: int) -> dict[str, Tensor]:
        """Compute the gradient of an update, the step's `number`-th from 0. Returns the terms of its loss."""
        rho = self.method.rho
        with nullcontext() if rho is None else self._perturbed(images, labels, update, number, rho):
            self._seed_dropout(number, second=rho is not None and self.method.independent_dropout)
            losses = self.method.losses(self._forward(images, labels, update.name))
            loss = total(losses.values())
            self.losses.add_loss(self.done + 1, loss)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
        return {name: value.detach() for name, value in losses.items()}

    def _perturbed(
        self, images: Tensor, labels: Tensor, update: Update, number: int, rho: float
    ) -> AbstractContextManager[None]:
        """Move the network to the point where a sharpness-aware method takes the gradient of this step."""
        self._seed_dropout(number)
        ascent = total(self.method.ascent(self._forward(images, labels, update.name)).values())
        # Scaled as the loss is, because in fp16 it could vanish. Its direction stays the same.
        alpha = None if self.method.alpha is None else self.method.alpha / self.scaler.get_scale()
        return perturbed(
            self.network, self.scaler.scale(ascent), rho, alpha, update_statistics=self.method.both_statistics
        )

    def _seed_dropout(self, update: int = 0, second: bool = False) -> None:
        """Make dropout and its like equal in both passes of a sharpness-aware update, unless `second`."""
        of_pass = [update, "second"] if second else [update] if update else []
        seed = derive(self.seed, "step", self.done, *of_pass)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _forward(self, images: Tensor, labels: Tensor, update: str = "") -> Step:
        """Pass labelled and target images through the network."""
        labelled, target, levels = self.passes.halves(images, len(labels))
        return Step(
            labelled,
            labels,
            target if self.target is not None else None,
            self.done / self.settings.iterations,
            self.domains,
            self.weights,
            images[: len(labels)],
            self.done,
            update,
            levels,
            self.domain_sizes,
        )

    def _record(self) -> None:
        """Evaluate, and add a row to the history, at the steps where that is due."""
        last, sets = self.done == self.settings.iterations, self.evaluated
        if sets is not None and not (last or self.done % sets.every == 0):
            sets = None
        if not (sets or last or self.done % math.ceil(self.settings.iterations / HISTORY_ROWS) == 0):
            return
        self._look()
        row: dict[str, float] = {"iteration": self.done}
        row |= self.losses.take_means()
        if sets is not None:
            row |= self._evaluate(sets)
        self.history.append(row)

    def _evaluate(self, sets: EvaluationSets) -> dict[str, float]:
        """Evaluate the network as it is. Returns what the history keeps of the evaluation."""
        accuracy, loss = held_out_scores(self.network, sets.held_out)
        if self.averaging:
            self.averaging.close_segment(self.done, loss)
            return {"source_accuracy": accuracy, "source_loss": loss}
        self.evaluations.append(Evaluation(self.done, accuracy, predict(self.network, sets.target)))
        return {"source_accuracy": accuracy}

    def _average(self, averaging: Averaging, sets: EvaluationSets) -> None:
        """Make the network the average, and its evaluation the only one to select."""
        self.averaged = averaging.finish()
        if self.averaged["converged"]:
            self._seed_dropout()
            steps = range(min(self.done, STATISTICS_STEPS))
            estimate_statistics(self.network, (self._batch(step)[0].to(self.device) for step in steps))
        accuracy, _ = held_out_scores(self.network, sets.held_out)
        self.evaluations = [Evaluation(self.done, accuracy, predict(self.network, sets.target))]

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"network": self.network, "method": self.method}

    def _save(self) -> None:
        """Write everything that the steps to come depend on."""
        self._look()
        tensors = {
            f"{name}.{key}": value
            for name, module in self._modules().items()
            for key, value in module.state_dict().items()
        }
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise self._diverged("the weights became infinite or NaN", self.done + 1)
        for index, one in enumerate(self.evaluations):
            tensors[f"probabilities.{index}"] = one.probabilities
        averaging_tensors, averaging = self.averaging.state() if self.averaging else ({}, None)
        tensors |= {f"averaging.{name}": tensor for name, tensor in averaging_tensors.items()}
        about = {
            "done": self.done,
            "history": self.history,
            **self.losses.state(),
            "evaluations": [(one.step, one.source_accuracy) for one in self.evaluations],
            "scaler": self.scaler.state_dict(),
            "averaging": averaging,
        }
        save_checkpoint(self.checkpoint, tensors, self.optimizer, about)

    def _resume(self) -> None:
        """Restore what `_save` wrote, if there is a checkpoint."""
        restored = load_checkpoint(self.checkpoint, self.optimizer)
        if restored is None:
            return
        tensors, about = restored
        for name, module in self._modules().items():
            module.load_state_dict(_under(f"{name}.", tensors))
        self.scaler.load_state_dict(about["scaler"])
        self.done, self.history = about["done"], about["history"]
        self.lr_scheduler = schedule_rates(self.optimizer, rate_schedule(self.settings), self.done)
        self.losses.load(about)
        if self.averaging:
            self.averaging.load(_under("averaging.", tensors), about["averaging"])
        self.evaluations = [
            Evaluation(step, accuracy, tensors[f"probabilities.{index}"])
            for index, (step, accuracy) in enumerate(about["evaluations"])
        ]

    def _diverged(self, what: str, step: int) -> Diverged:
        kept = f"; the last good checkpoint, {self.checkpoint}, is kept" if self.checkpoint.exists() else ""
        return Diverged(
            f"method {self.method.name}: {what} at step {step} of {self.settings.iterations}; "
            f"try a lower train.learning_rate than {self.settings.learning_rate:g}{kept}"
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by what follows it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
