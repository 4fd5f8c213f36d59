"""What to do where the memory of a GPU is too small for stage one or two."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from pipeline.config import FinetuneParams, SamplingParams
from pipeline.errors import UserError


@contextmanager
def enough_memory(remedies: Sequence[str]) -> Iterator[None]:
    """Within it, running out of a GPU's memory is a UserError that names `remedies`, to be taken in that order."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU's memory is too small for this job; in this order, until it fits: "
            + ", ".join([*remedies, "use a GPU with more memory"])
        ) from error


def of_finetuning(params: FinetuneParams) -> list[str]:
    """What lowers the memory that stage one takes: first what leaves the result what it is, last what changes most."""
    settings, found = params.settings, []
    passes = settings.batch_size // settings.processes
    if not settings.gradient_checkpointing:
        found.append("set finetune.gradient_checkpointing: true")
    if settings.gradient_accumulation < passes:
        found.append(
            f"raise finetune.gradient_accumulation ({settings.gradient_accumulation}, up to {passes})"
        )
    if settings.precision == "fp32":
        found.append("set finetune.precision: bf16")
    if settings.optimizer == "adamw":
        found.append("set finetune.optimizer: adamw8bit")
    if passes > 1:
        found.append(f"lower finetune.batch_size ({settings.batch_size})")
    return [
        *found,
        f"lower adapter.rank ({params.adapter.rank})",
        f"lower base_model.resolution ({params.base_model.resolution})",
    ]


def of_sampling(params: SamplingParams) -> list[str]:
    """What lowers the memory that stage two takes, in the same order."""
    found = [f"lower generate.batch_size ({params.batch_size})"] if params.batch_size > 1 else []
    if params.precision == "fp32":
        found.append("set generate.precision: bf16")
    return [*found, f"lower base_model.resolution ({params.base_model.resolution})"]
