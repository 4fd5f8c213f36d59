"""The training loop of every method: data, optimiser, schedule, precision, evaluation, checkpoints.

It computes on a GPU if there is one. In half precision, only the network's passes are: weights are float32,
and so are the features and logits that a method gets, because its losses may take logarithms of probabilities
near 0.

A step waits for no number from the GPU, so that the next one can be queued meanwhile (fp16's scaler alone
waits once). Losses stay on the device, and are looked at every few steps. The next batch is copied to the GPU
meanwhile.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.classify.evaluation.selection import Evaluation, EvaluationSets, held_out_scores, predict
from pipeline.classify.method import Method, Step, total
from pipeline.classify.network import Network
from pipeline.classify.training.batches import LabelledBatches, Pool
from pipeline.classify.training.dg_batches import DomainBatches
from pipeline.classify.training.draws import NOTHING_DRAWN, Drawn, Draws
from pipeline.classify.training.looks import make_look
from pipeline.classify.training.loss_log import LossLog
from pipeline.classify.training.method_checks import (
    MethodChecks,
    check_averaged,
    check_batch,
    check_losses,
)
from pipeline.classify.training.optimizers import make_optimizer, schedule_phase, update_weights
from pipeline.classify.training.passes import Groups, Passes, place
from pipeline.classify.training.sam import perturbed
from pipeline.classify.training.saved import load_training, save_training
from pipeline.classify.training.segments import Segment, segments
from pipeline.classify.training.swad import Averaging, estimate_statistics
from pipeline.config import TrainSettings
from pipeline.core.device_batches import on_device, pinned
from pipeline.core.errors import UserError
from pipeline.core.prefetch import prefetch
from pipeline.core.reproducibility import seed_generators
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
        self.modules = {"network": self.network, "method": self.method}
        self.labelled, self.target, self.evaluated = labelled, target, evaluated
        self.settings, self.seed, self.checkpoint = settings, seed, checkpoint
        self.checks = MethodChecks(method, network)
        self.passes = Passes(network, method, settings)
        self.groups = Groups.of(labelled.groups(settings.batch_size), self.device)
        self.optimizer = make_optimizer(network, method, settings)
        self.segments = segments(method, settings)
        self.segment = self.segments[0]
        self.lr_scheduler = schedule_phase(self.optimizer, settings, self.segment, 0)
        self.draws = Draws(
            labelled, target, method.views(), network.mean, network.std, settings.batch_size, seed
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.done = 0
        self.evaluations: list[Evaluation] = []
        self.history: list[dict[str, float]] = []
        self.averaging = Averaging(network, settings.swad) if settings.averaging == "swad" else None
        if self.averaging:
            check_averaged(method, network)
        self.averaged: dict[str, Any] | None = None
        self.losses = LossLog()

    @property
    def result(self) -> Network:
        """The network that is evaluated, selected and saved."""
        return self.method.evaluated(self.network)

    def run(self, progress: Progress) -> None:
        """Train to the end, and fill `evaluations` and `history`.

        Raises:
            Diverged: The loss or a weight became NaN or infinite.
        """
        self._resume()
        self.network.train()
        for segment in self.segments:
            if segment.stop > self.done:
                self._enter(segment)
                self._run_segment(segment, progress)
        self._look()
        if self.averaging and self.evaluated:
            self._average(self.averaging, self.evaluated)

    def _enter(self, segment: Segment) -> None:
        """Prepare for the steps of `segment`, of which some may be done already."""
        self.segment, phase = segment, segment.phase
        if self.done == segment.phase_start:
            self.optimizer.state.clear()
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                weight.requires_grad_(group["name"] not in phase.frozen)
        self.lr_scheduler = schedule_phase(self.optimizer, self.settings, segment, self.done)
        sizes = [len(self.groups.domains)] * phase.uses_labelled
        if self.target is not None:
            sizes += [self.settings.batch_size] * phase.uses_target
        check_batch(self.method, self.network, sizes)
        if phase.looks and self.done == segment.start:
            self._seed_pass("look")
            self.method.look(make_look(self.method, self.network, segment, self.labelled, self.target))

    def _run_segment(self, segment: Segment, progress: Progress) -> None:
        """Take the steps of `segment` that are not done."""
        steps = self.settings.iterations
        with closing(prefetch(self._batch, range(self.done, segment.stop), self.settings.workers)) as batches:
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
        self.checks.check_state()

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Drawn]:
        """What `Draws.draw` returns for a step, ready to be copied to the device. Runs in any thread."""
        images, labels, drawn = self.draws.draw(step, self.segment.phase)
        if self.device.type == "cuda":
            images = images.contiguous(memory_format=torch.channels_last)
        return pinned((images, labels, drawn), self.device)

    def _step(self, images: Tensor, labels: Tensor, drawn: Drawn = NOTHING_DRAWN) -> None:
        """Update the weights by a batch, without waiting for a number from the device."""
        terms: dict[str, Tensor] = {}
        for number, update in enumerate(self.method.updates()):
            of_update = self._backward(partial(self._forward, images, labels, drawn, update.name), number)
            update_weights(self.optimizer, self.scaler, update.groups, self.settings.clip_norm)
            terms |= of_update
        self.method.after_step(self.network)
        self.lr_scheduler.step()
        self.losses.add_terms(terms)

    def _look(self) -> None:
        """Look at the losses of the steps since the last look.

        Raises:
            Diverged: One of them is NaN or infinite. The message names the first such step.
        """
        if found := self.losses.look():
            raise self._diverged(f"the loss became {found[1]}", found[0])

    def _backward(self, forward: Callable[[], Step], number: int) -> dict[str, Tensor]:
        """Compute the gradient of an update, the step's `number`-th from 0. Returns the terms of its loss."""
        rho = self.method.rho
        with nullcontext() if rho is None else self._perturbed(forward, number, rho):
            self._seed_pass(number, second=rho is not None and self.method.independent_dropout)
            step, before = forward(), self.checks.writes()
            losses = self.method.losses(step)
            check_losses(self.method, losses)
            self.checks.check_unwritten(before)
            loss = total(losses.values())
            self.losses.add_loss(self.done + 1, loss)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
        return {name: value.detach() for name, value in losses.items()}

    def _perturbed(
        self, forward: Callable[[], Step], number: int, rho: float
    ) -> AbstractContextManager[None]:
        """Move the network to the point where a sharpness-aware method takes the gradient of this step."""
        self._seed_pass(number)
        ascent = total(self.method.ascent(forward()).values())
        # Scaled as the loss is, because in fp16 it could vanish. Its direction stays the same.
        alpha = None if self.method.alpha is None else self.method.alpha / self.scaler.get_scale()
        return perturbed(
            self.network, self.scaler.scale(ascent), rho, alpha, update_statistics=self.method.both_statistics
        )

    def _seed_pass(self, update: int | str = 0, second: bool = False) -> None:
        """Make dropout and its like equal in both passes of a sharpness-aware update, unless `second`."""
        of_pass = [update, "second"] if second else [update] if update else []
        seed_generators(derive(self.seed, "step", self.done, *of_pass))

    def _forward(
        self, images: Tensor, labels: Tensor, drawn: Drawn = NOTHING_DRAWN, update: str = ""
    ) -> Step:
        """Pass labelled and target images through the network."""
        return self.passes.step(images, labels, self.groups, drawn, self.segment, self.done, update)

    def _record(self) -> None:
        """Evaluate, and add a row to the history, at the steps where that is due."""
        last, sets = self.done == self.settings.iterations, self.evaluated
        if sets is not None and not (last or sets.due(self.done)):
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
        """Evaluate what the method has trained so far. Returns what the history keeps of the evaluation."""
        network = self.result
        accuracy, loss = held_out_scores(network, sets.held_out)
        if self.averaging:
            self.averaging.close_segment(self.done, loss)
            return {"source_accuracy": accuracy, "source_loss": loss}
        self.evaluations.append(Evaluation(self.done, accuracy, predict(network, sets.target)))
        return {"source_accuracy": accuracy}

    def _average(self, averaging: Averaging, sets: EvaluationSets) -> None:
        """Make the network the average, and its evaluation the only one to select."""
        self.averaged = averaging.finish()
        if self.averaged["converged"]:
            self._seed_pass()
            steps = range(min(self.done, STATISTICS_STEPS))
            estimate_statistics(self.network, (self._batch(step)[0].to(self.device) for step in steps))
        accuracy, _ = held_out_scores(self.network, sets.held_out)
        self.evaluations = [Evaluation(self.done, accuracy, predict(self.network, sets.target))]

    def _save(self) -> None:
        """Write everything that the steps to come depend on."""
        self._look()
        self.checks.check_state()
        about = {"done": self.done, "history": self.history, "scaler": self.scaler.state_dict()}
        about |= self.losses.state()
        if not save_training(
            self.checkpoint, self.modules, self.optimizer, self.evaluations, self.averaging, about
        ):
            raise self._diverged("the weights became infinite or NaN", self.done + 1)

    def _resume(self) -> None:
        """Restore what `_save` wrote, if there is a checkpoint."""
        restored = load_training(self.checkpoint, self.modules, self.optimizer, self.averaging)
        if restored is None:
            return
        self.evaluations, about = restored
        self.scaler.load_state_dict(about["scaler"])
        self.done, self.history = about["done"], about["history"]
        self.losses.load(about)

    def _diverged(self, what: str, step: int) -> Diverged:
        kept = f"; the last good checkpoint, {self.checkpoint}, is kept" if self.checkpoint.exists() else ""
        return Diverged(
            f"method {self.method.name}: {what} at step {step} of {self.settings.iterations}; "
            f"try a lower train.learning_rate than {self.settings.learning_rate:g}{kept}"
        )
