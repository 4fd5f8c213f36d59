"""Stage one: fine-tune an adapter on images of domains at their t, or on analogies between domains."""

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pipeline.config import FinetuneSettings
from pipeline.core.checkpoint import CHECKPOINT
from pipeline.core.processes.launcher import launch
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.diffusion.adapters import FILE, make_adapter
from pipeline.diffusion.base_model import BaseModel, default_device
from pipeline.diffusion.finetune.analogy_data import AnalogyData
from pipeline.diffusion.finetune.data import TuningData
from pipeline.diffusion.finetune.domain_data import DomainsData, PairData
from pipeline.diffusion.finetune.trainer import Tuner
from pipeline.diffusion.finetune.validation import draw_validation_images
from pipeline.planning.kinds.finetune import FinetuneParams


def make_accelerator(settings: FinetuneSettings) -> Accelerator:
    """Return the accelerator, which knows the device, half precision and the other processes."""
    # The state of an earlier job of this process, which may have had another precision, is shared otherwise.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = "no" if settings.precision == "fp32" else settings.precision
    return Accelerator(cpu=default_device().type == "cpu", mixed_precision=precision)


def train_adapter(tuner: Tuner, workspace: Path, progress: Progress) -> None:
    """Train to the last step, from the last checkpoint if there is one.

    Of several processes, only the first writes.
    """
    settings, state = tuner.settings, workspace / "scratch" / CHECKPOINT
    tuner.resume(state)
    tuner.accelerator.wait_for_everyone()  # before the first process may replace the checkpoint
    for done in tuner.steps():
        if tuner.accelerator.is_main_process:
            if settings.validate_every and done % settings.validate_every == 0:
                with tuner.averaged(), tuner.accelerator.autocast():
                    draw_validation_images(
                        tuner.model, tuner.adapter, tuner.data, workspace / "validation", done
                    )
            if done % settings.checkpoint_every == 0 and done < settings.steps:
                tuner.save(state)
            progress(done, settings.steps, f"loss {tuner.last_loss:.3f}")


def tuning_data(
    model: BaseModel, params: FinetuneParams, inputs: dict[str, Path], folder: Path
) -> TuningData:
    """Return the training data that `params` name, encoded once into `folder`."""
    if params.analogies is not None:
        return AnalogyData(model, params, params.analogies, inputs["data"], folder)
    if params.pair is not None:
        return PairData(model, params, params.pair, inputs["data"], folder)
    assert params.domains is not None
    return DomainsData(model, params, params.domains, inputs["data"], inputs["times"], folder)


def tune(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Fine-tune in one process, or as one of several."""
    with reproducible(params.threads, params.settings.deterministic):
        _tune(params, inputs, workspace, progress)


def _tune(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    settings = params.settings
    accelerator = make_accelerator(settings)
    model = BaseModel.load(params.base_model, settings.precision, accelerator.device)
    data = tuning_data(model, params, inputs, workspace / "scratch" / "encoded")
    adapter = make_adapter(model.denoiser, params.adapter, settings.seed)
    if settings.gradient_checkpointing:
        model.pipe.unet.enable_gradient_checkpointing()
    if settings.compile:
        model.compile("finetune.compile")
    tuner = Tuner(model, adapter, data, accelerator)
    train_adapter(tuner, workspace, progress)
    if not accelerator.is_main_process:
        return
    with tuner.averaged():
        adapter.save(workspace / FILE)
    columns = ["step", "loss", *(f"{part}_loss" for part in data.parts)]
    rows = [[f"{row[0]:.0f}", *(f"{value:.6g}" for value in row[1:])] for row in tuner.log]
    lines = [",".join(row) for row in [columns, *rows]]
    write_atomic(workspace / "losses.csv", "\n".join(lines) + "\n")


def run(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make adapter.safetensors and losses.csv.

    Columns of losses.csv: step, loss, and the loss of each part of a batch, such as source_loss and
    target_loss. With `finetune.validate_every` there are also pictures in validation/ (see validation.py).

    Args:
        params: The job's parameters.
        inputs: `data`, a prepare artifact, and under dg `times`, the artifact of a t-predictor.
        workspace: Folder of the product and of checkpoints.
        progress: Called after every step.
    """
    if params.settings.processes == 1:
        tune(params, inputs, workspace, progress)
        return
    with reproducible(params.threads, params.settings.deterministic):
        # One process encodes the images first: the others would wait for it longer than their timeout.
        model = BaseModel.load(params.base_model, params.settings.precision)
        tuning_data(model, params, inputs, workspace / "scratch" / "encoded")
        del model
        torch.cuda.empty_cache()
        launch("finetune", params.settings.processes, tune, (params, inputs, workspace), progress)
