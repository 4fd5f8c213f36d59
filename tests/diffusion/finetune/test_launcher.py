"""Fine-tuning by two processes, which gloo connects: the adapter of one process, killed and resumed too."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipeline.config import AdapterSpec, BaseModelSpec, FinetuneSettings, PairParams
from pipeline.core.errors import UserError
from pipeline.diffusion.finetune import stage as finetune
from pipeline.planning.kinds.finetune import FinetuneParams
from tests.diffusion.stage_samples import Killed, killed_after, product, silent


def wanted(folder: Path, **changes: object) -> FinetuneParams:
    told = {"steps": 4, "batch_size": 4, "learning_rate": 1e-3, "middle_lr_factor": 5, "checkpoint_every": 2}
    return FinetuneParams(
        pair=PairParams(source="S", target="T", words=["zero", "one", "two"]),
        base_model=BaseModelSpec(name=str(folder), resolution=16),
        adapter=AdapterSpec(rank=2, alpha=2.0, layers=["Linear"], include=r".*attn.*"),
        settings=FinetuneSettings(**(told | changes)),
        threads=1,
    )


@pytest.mark.slow
def test_two_processes_killed_and_resumed_make_the_adapter_of_one(
    tmp_path: Path, sdxl_folder: Path, two_domains: Path
) -> None:
    inputs = {"data": two_domains}
    finetune.run(wanted(sdxl_folder), inputs, tmp_path / "one", silent)
    shared, seen = wanted(sdxl_folder, processes=2, gradient_accumulation=2), []
    with pytest.raises(Killed):
        finetune.run(shared, inputs, tmp_path / "two", killed_after(3))
    finetune.run(shared, inputs, tmp_path / "two", lambda done, total, what: seen.append(done))
    assert seen == [3, 4], "one process tells of the progress of all, from the last checkpoint on"
    one, two = (load_file(tmp_path / name / "adapter.safetensors") for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    moved = [float(tensor.abs().max()) for name, tensor in one.items() if name.endswith("up")]
    assert min(moved) > 1e-3, "all layers have learned, far more than that"
    assert set(product(tmp_path / "two")) == {"adapter.safetensors", "losses.csv"}


@pytest.mark.slow
def test_a_users_mistake_in_a_process_is_told_as_one(
    tmp_path: Path, sdxl_folder: Path, two_domains: Path
) -> None:
    wild = wanted(sdxl_folder, processes=2, learning_rate=1e20)
    with pytest.raises(UserError, match=r"became .* at step \d+; lower finetune.learning_rate"):
        finetune.run(wild, {"data": two_domains}, tmp_path, silent)
