"""Stages one and two on Stable Diffusion 1.5's classes: resuming, determinism, no use of target labels."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.config import AdapterSpec, BaseModelSpec, FinetuneSettings, Guidance, PairParams
from pipeline.core.errors import UserError
from pipeline.data.image_files import read_resized
from pipeline.data.image_sets import load_labelled, load_unlabelled
from pipeline.data.made_images import load_generated
from pipeline.diffusion.adapters import load_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.trainer import rate_schedule
from pipeline.diffusion.generate import image_writer
from pipeline.diffusion.generate import stage as generate
from pipeline.diffusion.generate.merged_denoisers import Denoisers
from pipeline.diffusion.prompt_embeddings import denoise
from pipeline.diffusion.sampling import start_noise
from pipeline.planning.kinds.finetune import FinetuneParams
from pipeline.planning.kinds.generate import GenerateParams
from pipeline.planning.kinds.sampling import InversionSettings
from tests.diffusion.stage_samples import Killed, killed_after, product, silent

WORDS = ["zero", "one", "two"]
PAIR = PairParams(source="S", target="T", words=WORDS)
OWN = InversionSettings(depth=1.0, refinements=0, statistics="own")


@pytest.fixture(scope="module")
def data(two_domains: Path) -> Path:
    return two_domains


@pytest.fixture(scope="module")
def params(sd15_folder: Path) -> FinetuneParams:
    return FinetuneParams(
        pair=PAIR,
        base_model=BaseModelSpec(name=str(sd15_folder), resolution=64),
        adapter=AdapterSpec(rank=2, alpha=2.0),
        settings=FinetuneSettings(
            steps=6, batch_size=2, learning_rate=1e-2, checkpoint_every=2, unconditional=0.3
        ),
        threads=1,
    )


def finetuned(folder: Path, params: FinetuneParams, data: Path) -> Path:
    finetune.run(params, {"data": data}, folder, silent)
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, params: FinetuneParams, data: Path) -> Path:
    return finetuned(tmp_path_factory.mktemp("adapter"), params, data)


def generation(params: FinetuneParams, contents: str, **changes: object) -> GenerateParams:
    given = {
        "contents": contents,
        "pair": None if contents == "base" else PAIR,
        "words": WORDS,
        "per_class": 2,
        "base_model": params.base_model,
        "guidance": Guidance(weight=2.0, content_scale=0.5),
        "inversion": InversionSettings(
            depth=0.8 if contents == "adapted" else 1.0,
            refinements=1,
            statistics="target" if contents == "adapted" else "own",
        ),
        "steps": 3,
        "batch_size": 2,
        "scale": 0.9,
        "source_prompt": "A {class}",
        "target_prompt": "An image",
        "seed": 0,
        "threads": 1,
    }
    return GenerateParams(**(given | changes))


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path
) -> None:
    assert product(finetuned(tmp_path / "again", params, data)) == product(adapter)
    other = params.model_copy(update={"settings": params.settings.model_copy(update={"seed": 1})})
    assert product(finetuned(tmp_path / "other", other, data)) != product(adapter)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_killed_fine_tuning_ends_with_the_same_bytes(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path, steps: int
) -> None:
    with pytest.raises(Killed):
        finetune.run(params, {"data": data}, tmp_path, killed_after(steps))
    done: list[int] = []
    finetune.run(params, {"data": data}, tmp_path, lambda step, total, what: done.append(step))
    assert done[0] == steps // 2 * 2 + 1, "it goes on from the last checkpoint"
    assert product(tmp_path) == product(adapter)


def test_the_loss_curve_has_every_step(adapter: Path) -> None:
    curve = pd.read_csv(adapter / "losses.csv")
    assert curve["step"].tolist() == list(range(6))
    assert np.allclose(curve["loss"], (curve["source_loss"] + curve["target_loss"]) / 2, rtol=1e-4)


def inputs_of(contents: str, data: Path, adapter: Path) -> dict[str, Path]:
    return {} if contents == "base" else {"data": data, "adapter": adapter}


@pytest.mark.parametrize("contents", ["adapted", "generated", "base"])
def test_a_killed_generation_ends_with_the_same_bytes(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path, contents: str
) -> None:
    wanted, inputs = generation(params, contents), inputs_of(contents, data, adapter)
    generate.run(wanted, inputs, tmp_path / "whole", silent)
    with pytest.raises(Killed):
        generate.run(wanted, inputs, tmp_path / "cut", killed_after(4))
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").rglob("*.png")}
    assert len(made) == 4
    generate.run(wanted, inputs, tmp_path / "cut", silent)
    assert all(path.stat().st_mtime_ns == time for path, time in made.items()), (
        "whole batches are not made again"
    )
    assert product(tmp_path / "cut") == product(tmp_path / "whole")


@pytest.mark.parametrize("contents", ["adapted", "generated", "base"])
def test_the_manifest_says_how_every_image_was_made(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path, contents: str
) -> None:
    generate.run(generation(params, contents), inputs_of(contents, data, adapter), tmp_path, silent)
    manifest = pd.read_csv(tmp_path / "manifest.csv", keep_default_na=False)
    assert list(manifest) == ["file", "label", "class", "seed", "t", "prompt", "source", "style"]
    assert manifest["label"].value_counts().to_dict() == {0: 2, 1: 2, 2: 2}
    assert (manifest["prompt"] == "A " + manifest["class"]).all()
    assert set(manifest["file"]) == {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")}
    assert all(Image.open(tmp_path / file).size == (64, 64) for file in manifest["file"])
    if contents == "adapted":
        source = load_labelled(data, "S", "train")
        labels = dict(zip(source.names, source.labels, strict=True))
        assert [labels[name] for name in manifest["source"]] == manifest["label"].tolist()
        assert manifest["source"].is_unique
    styles = {""} if contents != "adapted" else set(load_unlabelled(data, "T", "train").names)
    assert set(manifest["style"]) <= styles


def test_an_image_does_not_depend_on_its_batch(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path
) -> None:
    for size in (1, 6):
        wanted = generation(params, "generated", batch_size=size)
        generate.run(wanted, {"data": data, "adapter": adapter}, tmp_path / str(size), silent)
    for file in (tmp_path / "1" / "images").iterdir():
        one, other = (np.asarray(Image.open(tmp_path / s / "images" / file.name), int) for s in ("1", "6"))
        assert abs(one - other).max() <= 1


def test_target_labels_are_never_read(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path
) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(data, blind)
    (blind / "T.labels.npy").write_bytes(b"garbage")
    again = finetuned(tmp_path / "adapter", params, blind)
    assert product(again) == product(adapter)
    for contents in ("adapted", "generated"):
        for name, where, tuned in (("seen", data, adapter), ("blind", blind, again)):
            inputs = inputs_of(contents, where, tuned)
            generate.run(generation(params, contents), inputs, tmp_path / contents / name, silent)
        assert product(tmp_path / contents / "seen") == product(tmp_path / contents / "blind")


def test_a_loss_that_is_not_finite_stops_with_the_step(
    tmp_path: Path, params: FinetuneParams, data: Path
) -> None:
    wild = params.model_copy(update={"settings": params.settings.model_copy(update={"learning_rate": 1e20})})
    with pytest.raises(UserError, match=r"became .* at step \d+; lower finetune.learning_rate"):
        finetune.run(wild, {"data": data}, tmp_path, silent)


def test_learning_rate_schedules() -> None:
    cosine = FinetuneSettings(steps=10, schedule="cosine", warmup=2)
    assert [rate_schedule(cosine)(s) for s in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert rate_schedule(cosine)(6) == pytest.approx(0.5)
    assert rate_schedule(FinetuneSettings(steps=10))(9) == 1.0


def test_a_base_model_that_cannot_be_loaded_is_a_users_error(tmp_path: Path, params: FinetuneParams) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    missing = params.model_copy(update={"base_model": BaseModelSpec(name=str(tmp_path))})
    with pytest.raises(UserError, match="can't be loaded"):
        finetune.run(missing, {}, tmp_path / "work", silent)


def test_the_class_is_guided_by_any_blend_of_base_model_and_adapter(
    params: FinetuneParams, adapter: Path
) -> None:
    """A content_scale of 0 is the base model, 1 the adapter at t = 1, and a half has half of its update."""

    def weight(share: float) -> torch.Tensor:
        guidance = Guidance(content_scale=share)
        given = generation(params, "generated", guidance=guidance)
        model = BaseModel.load(params.base_model)
        content = Denoisers.make(model, adapter / "adapter.safetensors", given).content
        denoise(content, start_noise(model, [0]), 500, model.embed(["A zero"]))
        return model.denoiser.conv_in.base.weight

    base = BaseModel.load(params.base_model).denoiser.conv_in.weight
    assert torch.equal(weight(0.0), base)
    assert not torch.allclose(weight(1.0), base)
    assert torch.allclose(weight(0.5), (base + weight(1.0)) / 2, atol=1e-6)


def test_whole_images_are_adapted_at_their_own_aspect_ratio(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path
) -> None:
    """Wide, tall and square ones in one batch; a square one as if its aspect ratio were not kept."""
    model = BaseModel.load(params.base_model)
    told = generation(params, "adapted", scale=1.0, inversion=OWN)
    denoisers = Denoisers.make(model, adapter / "adapter.safetensors", told)
    rng = np.random.default_rng(0)
    sizes, paths = [(96, 64), (40, 80), (64, 64), (192, 128)], []
    for i, size in enumerate(sizes):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(paths[-1])
    prompts = model.embed(["A zero", "A one", "A two", "A zero"])
    inputs = generate.BatchInputs(
        prompts, prompts[:1], prompts[:1], [0, 1, 2, 3], np.array(paths, dtype=object)
    )
    rows = pd.RangeIndex(4)
    keep = told.model_copy(update={"keep_aspect": True})
    whole = generate.make_images(model, denoisers, keep, inputs, rows)
    assert [image.shape for image in whole] == [(40, 64, 3), (64, 32, 3), (64, 64, 3), (40, 64, 3)]
    squares = generate.make_images(model, denoisers, told, inputs, rows)
    assert np.abs(whole[2].astype(int) - squares[2]).max() <= 1
    assert np.abs(whole[0].astype(int) - whole[3]).max() > 1, "two images of one size are made together"


def test_one_network_gives_the_outputs_of_three_merged_copies(params: FinetuneParams, adapter: Path) -> None:
    """Called in any order, the denoisers compute what copies of their own would."""
    file, model = adapter / "adapter.safetensors", BaseModel.load(params.base_model)
    given = generation(params, "adapted")
    own = Denoisers.make(model, file, given)
    noise, prompts = start_noise(model, [0]), model.embed(["A zero"])
    copies = {}
    for role, t, share in (("at_source", 0.0, 1.0), ("at_target", 1.0, 1.0), ("content", 1.0, 0.5)):
        other = BaseModel.load(params.base_model)
        merged = load_adapter(other.denoiser, file)
        merged.set_scale(0.9 * share)
        merged.merge(t)
        copies[role] = denoise(other.denoiser, noise, 500, prompts)
    for role in ("at_target", "content", "at_target", "at_source", "at_source", "content"):
        assert torch.equal(denoise(getattr(own, role), noise, 500, prompts), copies[role]), role
    assert not torch.equal(copies["at_source"], copies["at_target"])


def test_saved_images_are_those_that_stage_three_would_resize(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path
) -> None:
    inputs = {"data": data, "adapter": adapter}
    generate.run(generation(params, "generated"), inputs, tmp_path / "whole", silent)
    small = generation(params, "generated", save_size=24, image_format="webp")
    generate.run(small, inputs, tmp_path / "small", silent)
    files = pd.read_csv(tmp_path / "small" / "manifest.csv")["file"]
    assert files.tolist() == [f"images/{i:06d}.webp" for i in range(6)]
    for file in files:
        whole = tmp_path / "whole" / file.replace(".webp", ".png")
        expected = read_resized(str(whole), 24)
        assert (np.asarray(Image.open(tmp_path / "small" / file)) == expected).all()
        assert (read_resized(str(tmp_path / "small" / file), 24) == expected).all()
    assert load_generated(tmp_path / "small").images.shape == (6, 24, 24, 3)


def test_a_full_disk_ends_the_job_with_its_error(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_writer, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        generate.run(generation(params, "base"), {}, tmp_path, silent)
    assert not (tmp_path / "manifest.csv").exists()


def test_a_batch_that_does_not_fit_is_halved_and_no_image_is_left_out(
    tmp_path: Path, params: FinetuneParams, data: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    sample = generate.sample

    def memory_for_two(model: BaseModel, predict: object, latents: torch.Tensor, levels: object) -> object:
        sizes.append(len(latents))
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(model, predict, latents, levels)

    inputs = {"data": data, "adapter": adapter}
    generate.run(generation(params, "generated"), inputs, tmp_path / "twos", silent)
    monkeypatch.setattr(generate, "sample", memory_for_two)
    generate.run(generation(params, "generated", batch_size="auto"), inputs, tmp_path / "auto", silent)
    assert sizes == [6, 3, 2, 2, 2]
    assert set(product(tmp_path / "auto")) == set(product(tmp_path / "twos"))
    with pytest.raises(torch.OutOfMemoryError):
        generate.run(generation(params, "generated", batch_size=6), inputs, tmp_path / "stated", silent)
