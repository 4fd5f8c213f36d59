"""The one training loop of every method: data, optimiser, schedule, precision, evaluation, checkpoints.

It computes on a GPU if there is one. In half precision only the network's passes are: weights are fp32, and so is
what a method sees, for its losses may have logarithms of probabilities near 0.
"""

import math
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.classify.ahead import ahead
from pipeline.classify.backbones import Network
from pipeline.classify.batches import Labelled, Pool, target_batch
from pipeline.classify.evaluate import Evaluation, predict, score
from pipeline.classify.method import Method, Outputs, Step
from pipeline.classify.optimisation import make_optimizer, set_rate
from pipeline.classify.sharpness import perturbed
from pipeline.config import TrainSettings
from pipeline.errors import UserError
from pipeline.seeds import derive
from pipeline.stage import Progress

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The precisions that are not fp32."""

HISTORY_ROWS = 50
"""Rows of a history besides those of evaluations."""


class Diverged(UserError):
    """Training came to numbers that are none."""


@dataclass(frozen=True)
class Watched:
    """What is evaluated, after every `every` steps and at the end.

    held_out: the source's test split, labelled. target: the target's, unlabelled.
    """

    held_out: Pool
    target: Pool
    every: int


class Loop:
    """One training. `run` starts it, or goes on from the file `checkpoint` if that is there.

    target: unlabelled target images, None if the method does not use them. watched: None to evaluate nothing.
    """

    def __init__(
        self,
        network: Network,
        method: Method,
        labelled: Labelled,
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
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.done = 0
        self.evaluations: list[Evaluation] = []
        self.history: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.summed = 0

    def run(self, progress: Progress) -> None:
        """Train to the end; fills `evaluations` and `history`. Diverged if a loss is no longer finite."""
        if self.checkpoint.exists():
            self._resume()
        self.network.train()
        self._check_batch()
        total = self.settings.iterations
        with closing(ahead(self._batch, range(self.done, total), self.settings.workers)) as batches:
            for self.batch in batches:
                loss = self._step()
                self.done += 1
                self._record()
                if self.done % self.settings.checkpoint_every == 0 and self.done < total:
                    self._save()
                progress(self.done, total, f"loss {loss:.3f}")

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images of a step, labelled and then target ones, and the labels of the former. Runs in any thread."""
        size = self.settings.batch_size
        images, labels = self.labelled.batch(step, size, self.seed)
        if self.target is not None:
            images = torch.cat([images, target_batch(self.target, step, size, self.seed)])
        return images, labels

    def _check_batch(self) -> None:
        """UserError if BatchNorm would see one image at a time, whose deviation from its own mean is nothing."""
        if self.settings.batch_size == 1 and self.target is None and self.network.needs_several_images():
            raise UserError(
                "train.batch_size: BatchNorm layers need at least 2 images in a step, not 1; raise it"
            )

    def _step(self) -> float:
        """One update of the weights; the loss before it."""
        set_rate(self.optimizer, self.settings.schedule, self.done, self.settings.iterations)
        with nullcontext() if self.method.rho is None else self._perturbed():
            self._seed_dropout()
            losses = self.method.losses(self._forward())
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

    def _perturbed(self) -> AbstractContextManager[None]:
        """The network moved to where a sharpness-aware method wants the gradient of this step."""
        self._seed_dropout()
        ascent = sum(self.method.ascent(self._forward()).values())
        # Scaled as the loss is, for else it could vanish in fp16: of the gradient only the direction counts.
        return perturbed(self.network, self.scaler.scale(ascent), self.method.rho)

    def _seed_dropout(self) -> None:
        """Dropout and its like are the same in all passes of a step."""
        seed = derive(self.seed, "step", self.done)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _forward(self) -> Step:
        """The step's images, both halves in one pass through the network."""
        size = self.settings.batch_size
        images, labels = self.batch
        features, logits = self._through_network(images)
        target = Outputs(features[size:], logits[size:]) if self.target is not None else None
        labelled = Outputs(features[:size], logits[:size])
        progress = self.done / self.settings.iterations
        return Step(labelled, labels.to(self.device), target, progress)

    def _through_network(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits, in fp32 whatever the precision of the pass."""
        half = HALF.get(self.settings.precision)
        with nullcontext() if half is None else torch.autocast(self.device.type, half):
            features, logits = self.network(images.to(self.device))
        return features.float(), logits.float()

    def _record(self) -> None:
        """Evaluate if it is time, and add a row to the history if it is time for that."""
        last = self.done == self.settings.iterations
        due = self.watched is not None and (last or self.done % self.watched.every == 0)
        if not (due or last or self.done % math.ceil(self.settings.iterations / HISTORY_ROWS) == 0):
            return
        row = {"iteration": self.done} | {name: value / self.summed for name, value in self.sums.items()}
        if due:
            self.evaluations.append(self._evaluate(self.watched))
            row["source_accuracy"] = self.evaluations[-1].source_accuracy
        self.history.append(row)
        self.sums, self.summed = {}, 0

    def _evaluate(self, watched: Watched) -> Evaluation:
        held_out, classes = watched.held_out, self.network.head.out_features
        source = score(predict(self.network, held_out).argmax(dim=1), held_out.labels, classes)
        return Evaluation(self.done, source.accuracy, predict(self.network, watched.target))

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
        about = {
            "done": self.done,
            "history": self.history,
            "sums": self.sums,
            "summed": self.summed,
            "evaluations": [(one.step, one.source_accuracy) for one in self.evaluations],
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(self.checkpoint, tensors, self.optimizer, about)

    def _resume(self) -> None:
        tensors, about = load_checkpoint(self.checkpoint, self.optimizer)
        for name, module in self._modules().items():
            module.load_state_dict(_under(f"{name}.", tensors))
        self.scaler.load_state_dict(about["scaler"])
        self.done, self.history = about["done"], about["history"]
        self.sums, self.summed = about["sums"], about["summed"]
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
