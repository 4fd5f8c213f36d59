"""Base models by name, folder and hub id: safetensors alone, and one sentence for everything else."""

import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.config import BaseModelSpec, base_model_path, resolve_base_model
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.diffusion.base_model import BaseModel
from tests import tiny_pipelines


def test_names_stand_for_hub_ids_with_their_resolution_and_vae() -> None:
    sd15, sdxl, mini = (BaseModelSpec(name=name) for name in ("sd15", "sdxl", "mini"))
    assert (sd15.resolution, sdxl.resolution, mini.resolution) == (512, 1024, 32)
    assert base_model_path(sd15) == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert base_model_path(sdxl) == "stabilityai/stable-diffusion-xl-base-1.0"
    assert sdxl.vae == "madebyollin/sdxl-vae-fp16-fix"
    assert sd15.vae is None
    assert BaseModelSpec(name="sdxl", vae=None, resolution=512) == BaseModelSpec(
        name="sdxl", vae=None, resolution=512
    )
    assert set(mini.model_dump()) == {"name", "resolution", "revision"}, "older keys stay what they were"
    assert resolve_base_model(sdxl) == sdxl


def as_pickle(path: Path) -> Path:
    """What stands for the weights at `path` as a pickle, in their place."""
    pickled = path.with_suffix(".bin")
    torch.save({}, pickled)
    path.unlink()
    return pickled


def test_a_pickle_among_weights_is_refused_and_never_read(
    tmp_path: Path, sdxl_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sdxl_folder, folder)
    pickled = as_pickle(folder / "unet" / "diffusion_pytorch_model.safetensors")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    spec = BaseModelSpec(name=str(folder), resolution=16)
    for attempt in (resolve_base_model, BaseModel.load):
        with pytest.raises(UserError, match=r"is a pickle.*convert.*save_pretrained") as caught:
            attempt(spec)
        assert str(pickled) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_pickle_beside_safetensors_is_left_alone(
    tmp_path: Path, sdxl_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sdxl_folder, folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"garbage")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    assert BaseModel.load(BaseModelSpec(name=str(folder), resolution=16)).resolution == 16


@pytest.mark.parametrize(
    "spec", [{"name": "sdxl"}, {"name": "sd15"}, {"name": "some/where", "resolution": 64}]
)
def test_offline_a_hub_id_that_is_not_in_the_cache_is_one_sentence(
    spec: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"Hugging Face hub nor in its cache.*doctor") as caught:
        BaseModel.load(BaseModelSpec(**spec))
    assert "\n" not in str(caught.value)


def test_another_vae_takes_the_place_of_the_models_own(tmp_path: Path, sdxl_folder: Path) -> None:
    other = tiny_pipelines.make_vae()
    with torch.no_grad():
        other.decoder.conv_out.bias.fill_(0.25)
    other.register_to_config(scaling_factor=0.5)
    other.save_pretrained(tmp_path / "vae")
    spec = BaseModelSpec(name=str(sdxl_folder), resolution=16, vae=str(tmp_path / "vae"))
    vae = BaseModel.load(spec).pipe.vae
    assert vae.config.scaling_factor == 0.5
    assert (vae.decoder.conv_out.bias == 0.25).all()
    before = resolve_base_model(spec)
    other.register_to_config(scaling_factor=0.25)
    other.save_pretrained(tmp_path / "vae")
    after = resolve_base_model(spec)
    assert before.revision == after.revision
    assert before.vae_revision != after.vae_revision
    with pytest.raises(UserError, match=r"base_model.vae '.*nowhere': there is no folder"):
        resolve_base_model(spec.model_copy(update={"vae": str(tmp_path / "nowhere")}))


def test_a_vae_that_overflows_in_half_precision_stays_in_single(tmp_path: Path, sdxl_folder: Path) -> None:
    spec = BaseModelSpec(name=str(sdxl_folder), resolution=16)
    model = BaseModel.load(spec, "bf16")
    assert model.denoiser.dtype == torch.bfloat16
    assert model.pipe.vae.dtype == torch.float32
    stable = tiny_pipelines.make_vae()
    stable.register_to_config(force_upcast=False)
    stable.save_pretrained(tmp_path)
    assert (
        BaseModel.load(spec.model_copy(update={"vae": str(tmp_path)}), "bf16").pipe.vae.dtype
        == torch.bfloat16
    )


def test_a_denoiser_with_other_inputs_is_refused() -> None:
    pipe = tiny_pipelines.sd15()
    pipe.unet.register_to_config(in_channels=9)  # as of an inpainting model
    with pytest.raises(UserError, match="StableDiffusionPipeline wants more than latents and prompts"):
        BaseModel.wrap(pipe, 64)


def test_loading_says_nothing() -> None:
    """The libraries that it imports print nothing, even with bitsandbytes installed."""
    code = (
        "from pipeline.config import BaseModelSpec; from pipeline.diffusion.base_model import BaseModel\n"
        "BaseModel.load(BaseModelSpec(name='mini'))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout + done.stderr == ""


def test_a_folder_of_half_precision_files_is_loaded_by_its_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny_pipelines.sdxl().to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    assert not (tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors").exists()
    spec = resolve_base_model(BaseModelSpec(name="~/half", resolution=16))
    model = BaseModel.load(spec)
    assert model.pipe.unet.dtype == torch.float32
    (tmp_path / "half" / "vae" / "diffusion_pytorch_model.fp16.safetensors").rename(
        tmp_path / "half" / "vae" / "diffusion_pytorch_model.bf16.safetensors"
    )
    for attempt in (resolve_base_model, BaseModel.load):
        with pytest.raises(UserError, match="different variants"):
            attempt(spec)


def test_weights_with_nan_or_cut_off_are_refused_by_file_and_tensor(
    tmp_path: Path, sdxl_folder: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sdxl_folder, folder)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    weights = load_file(file)
    weights["decoder.conv_out.bias"][0] = torch.nan
    save_file(weights, file, {"format": "pt"})
    spec = BaseModelSpec(name=str(folder), resolution=16)
    with pytest.raises(UserError, match=rf"{file}: the tensor decoder.conv_out.bias holds NaN or infinity"):
        BaseModel.load(spec)
    for content in (whole[:-100], (2**62).to_bytes(8, "little") + whole[8:]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"{file} can't be read as safetensors: ") as caught:
            BaseModel.load(spec)
        assert "\n" not in str(caught.value)
