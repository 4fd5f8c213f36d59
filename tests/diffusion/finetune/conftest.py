"""A small fine-tuning and its trainer."""

from pathlib import Path

import pytest

from pipeline.config import AdapterSpec, BaseModelSpec, FinetuneSettings, PairParams
from pipeline.diffusion.finetune.trainer import Tuner
from pipeline.planning.kinds.finetune import FinetuneParams
from tests.diffusion.finetune.samples import changed, make_tuner


@pytest.fixture(scope="module")
def params(sdxl_folder: Path) -> FinetuneParams:
    return FinetuneParams(
        pair=PairParams(source="S", target="T", words=["zero", "one", "two"]),
        base_model=BaseModelSpec(name=str(sdxl_folder), resolution=16),
        adapter=AdapterSpec(rank=2, alpha=2.0, layers=["Linear"], include=r".*attn.*"),
        settings=FinetuneSettings(
            steps=3, batch_size=4, learning_rate=1e-3, checkpoint_every=2, unconditional=0.3
        ),
        threads=1,
    )


@pytest.fixture
def tuner(tmp_path: Path, params: FinetuneParams, two_domains: Path) -> Tuner:
    return make_tuner(changed(params, ema=0.7), two_domains, tmp_path)
