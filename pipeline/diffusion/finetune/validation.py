"""Validation images of stage one: a row for each t or analogy, a column for each of the first classes."""

import json
from pathlib import Path

import numpy as np

from pipeline.core.seeds import derive
from pipeline.core.store import write_atomic
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import TuningData
from pipeline.diffusion.generate.images import to_png
from pipeline.diffusion.sampling import Levels, classifier_free, sample, start_noise


def draw_validation_images(
    model: BaseModel, adapter: Adapter, data: TuningData, folder: Path, step: int
) -> None:
    """Draw what the adapter has learned so far.

    Writes <step>.png, such as 000500.png, and about.json with the prompts of its columns and the t or
    analogies of its rows. Each column starts from the same noise at every t and every step.
    """
    settings = data.settings.validation
    prompts = data.prompts[: settings.classes].to(model.device)
    empty = data.empty.expand(len(prompts)).to(model.device)
    noise = start_noise(model, [derive(data.settings.seed, "validation", i) for i in range(len(prompts))])
    levels, rows = Levels.make(model, settings.steps), []
    for condition in data.conditions_to_show():
        adapter.set_condition(condition)
        predict = classifier_free(model.denoiser, prompts, empty, settings.weight)
        rows.append(np.concatenate(model.decode(sample(model, predict, noise, levels)), axis=1))
    write_atomic(folder / f"{step:06d}.png", to_png(np.concatenate(rows)))
    about = {"columns": data.class_prompts[: len(prompts)], "rows": data.names_of_conditions()}
    write_atomic(folder / "about.json", json.dumps(about, indent=1) + "\n")
