"""Stage one: fine-tune an adapter on images of domains, each at its own t, or on analogies between domains."""

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pipeline.config import FinetuneSettings
from pipeline.core.checkpoint import CHECKPOINT
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.base_model import BaseModel, default_device
from pipeline.diffusion.finetune import launcher
from pipeline.diffusion.finetune.analogy_data import AnalogyData
from pipeline.diffusion.finetune.data import TuningData
from pipeline.diffusion.finetune.domain_data import DomainsData, PairData
from pipeline.diffusion.finetune.trainer import Tuner
from pipeline.diffusion.finetune.validation import draw
from pipeline.planning.kinds.finetune import FinetuneParams


def make_accelerator(settings: FinetuneSettings) -> Accelerator:
    """What knows the device, half precision and the other processes."""
    # What the state of an earlier job in this process was must not hinder this one, which may have another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = {"fp32": "no"}.get(settings.precision, settings.precision)
    return Accelerator(cpu=default_device().type == "cpu", mixed_precision=precision)


def train_adapter(tuner: Tuner, workspace: Path, progress: Progress) -> list[list[float]]:
    """Train to the end, from the last checkpoint if there is one. Returns [step, loss, that of each part] by step.

    Of several processes, the first alone writes.
    """
    settings, state = tuner.settings, workspace / "scratch" / CHECKPOINT
    log = tuner.resume(state)
    tuner.accelerator.wait_for_everyone()  # lest the first write a checkpoint before all have read the last
    for step in range(len(log), settings.steps):
        log.append([step, *tuner.step(step)])
        if tuner.accelerator.is_main_process:
            if settings.validate_every and (step + 1) % settings.validate_every == 0:
                with tuner.averaged(), tuner.accelerator.autocast():
                    draw(tuner.model, tuner.adapter, tuner.data, workspace / "validation", step + 1)
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
                tuner.save(state, log)
            progress(step + 1, settings.steps, f"loss {log[-1][1]:.3f}")
    return log


def tuning_data(
    model: BaseModel, params: FinetuneParams, inputs: dict[str, Path], folder: Path
) -> TuningData:
    """The images that `params` name, encoded once into `folder`."""
    if params.analogies is not None:
        return AnalogyData(model, params, inputs["data"], folder)
    if params.pair is not None:
        return PairData(model, params, inputs["data"], folder)
    return DomainsData(model, params, inputs["data"], inputs["times"], folder)


def tune(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """What each process of a fine-tuning does."""
    settings = params.settings
    accelerator = make_accelerator(settings)
    model = BaseModel.load(params.base_model, settings.precision, accelerator.device)
    data = tuning_data(model, params, inputs, workspace / "scratch" / "encoded")
    adapter = make_adapter(model.denoiser, params.adapter, settings.seed)
    if settings.gradient_checkpointing:
        model.denoiser.enable_gradient_checkpointing()
    tuner = Tuner(model, adapter, data, accelerator)
    log = train_adapter(tuner, workspace, progress)
    if not accelerator.is_main_process:
        return
    with tuner.averaged():
        adapter.save(workspace / "adapter.safetensors")
    columns = ["step", "loss", *(f"{part}_loss" for part in data.parts)]
    rows = [[f"{row[0]:.0f}", *(f"{value:.6g}" for value in row[1:])] for row in log]
    lines = [",".join(row) for row in [columns, *rows]]
    write_atomic(workspace / "losses.csv", "\n".join(lines) + "\n")


def run(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make adapter.safetensors and losses.csv (step, loss, and that of each part: source_loss, target_loss under uda).

    With finetune.validate_every, validation/ has a picture for every so many steps (see validation.py).

    inputs: `data`, a prepare artifact, and under dg `times`, that of a t-predictor.
    """
    with reproducible(params.threads):
        if params.settings.processes == 1:
            tune(params, inputs, workspace, progress)
            return
        # Encoded by one process before the others begin, which would wait for it longer than they may.
        model = BaseModel.load(params.base_model, params.settings.precision)
        tuning_data(model, params, inputs, workspace / "scratch" / "encoded")
        del model
        torch.cuda.empty_cache()
        launcher.together(params, inputs, workspace, progress)
