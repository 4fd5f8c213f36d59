"""What tests of fine-tuning share."""

from pathlib import Path

from pipeline.config import FinetuneSettings
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.stage import make_accelerator, tuning_data
from pipeline.diffusion.finetune.trainer import Tuner
from pipeline.planning.kinds.finetune import FinetuneParams


def changed(params: FinetuneParams, **changes: object) -> FinetuneParams:
    settings = FinetuneSettings.model_validate(dict(params.settings) | changes)
    return params.model_copy(update={"settings": settings})


def make_tuner(params: FinetuneParams, data: Path, folder: Path) -> Tuner:
    model = BaseModel.load(params.base_model)
    images = tuning_data(model, params, {"data": data}, folder)
    adapter = make_adapter(model.denoiser, params.adapter, seed=0)
    return Tuner(model, adapter, images, make_accelerator(params.settings))
