"""Estimates: how they grow with the work, measured rates before stated ones, and messages about GPUs."""

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline import config
from pipeline.config import BaseModelSpec
from pipeline.core import hardware
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity, Gpu
from pipeline.core.job import Job
from pipeline.core.paths import ROOT
from pipeline.core.store import Store
from pipeline.planning import cost, preflight
from pipeline.planning.cost import Estimator
from pipeline.planning.graph import Plan, make_plan
from pipeline.planning.network_sizes import GIB, MINI, SD15, SDXL, denoiser
from pipeline.planning.rates import CPU, GPU

CARD = config.read_card("digits")
SUITE = config.read_suite("digits")
A100 = Gpu("GPU-a", "NVIDIA A100", 80.0)
SMALL_GPU = Gpu("GPU-s", "NVIDIA T4", 15.0)


def plan(**changes: object) -> Plan:
    """The digits suite with `changes`; a base model of the hub needs no revision here."""
    return make_plan(SUITE.model_copy(update=changes), CARD, changes.get("base_model", SUITE.base_model))


def jobs(kind: str, **changes: object) -> list[Job]:
    return [job for job in plan(**changes).jobs if job.kind == kind]


HEAVY = {
    "base_model": BaseModelSpec(name="stabilityai/stable-diffusion-xl-base-1.0", resolution=1024),
    "finetune": SUITE.finetune.model_copy(update={"steps": 5000, "batch_size": 4}),
}


def seconds(job: Job, store: Store, device: str = CPU) -> float:
    return Estimator(store, device).needs(job).seconds


def test_time_grows_with_steps_batches_images_and_seeds_do_not_matter(tmp_path: Path) -> None:
    store = Store(tmp_path)
    once = seconds(jobs("finetune")[0], store)
    for changes, factor in (({"steps": 600}, 2), ({"batch_size": 48}, 2), ({"steps": 100}, 1 / 3)):
        other = jobs("finetune", finetune=SUITE.finetune.model_copy(update=changes))[0]
        assert seconds(other, store) == pytest.approx(factor * once)
    generate = SUITE.generate.model_copy(update={"generated": 140, "steps": 24})
    made = next(job for job in jobs("generate") if job.params.contents == "generated")
    more = next(job for job in jobs("generate", generate=generate) if job.params.contents == "generated")
    assert seconds(more, store) == pytest.approx(4 * seconds(made, store))
    first, second = (cell.job for cell in plan().cells[:2])
    assert seconds(first, store) == seconds(second, store)


def test_a_method_that_seeks_flat_minima_takes_twice_as_long(tmp_path: Path) -> None:
    erm, sdat = (
        jobs("train", methods=[config.MethodSpec(name=name)], augmentations=["none"])[0]
        for name in ("ERM", "SDAT")
    )
    assert seconds(sdat, Store(tmp_path)) == pytest.approx(2 * seconds(erm, Store(tmp_path)))


def finish(store: Store, job: Job, took: float, device: str = CPU) -> None:
    """Have `job` in the store, made in `took` seconds."""
    (store.workspace(job.kind, job.key) / "product").write_bytes(b"")
    about = {"params": job.params.model_dump(mode="json"), "seconds": took, "device": device}
    store.commit(job.kind, job.key, about)


def test_a_measured_rate_is_preferred_and_scaled_to_the_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert Estimator(store, CPU).needs(jobs("finetune")[1]).rate == "stated"
    for job, took in zip(jobs("finetune")[:3], (90.0, 100.0, 500.0), strict=True):  # one was disturbed
        finish(store, job, took)
    needs = Estimator(store, CPU).needs(jobs("finetune")[5])
    assert (needs.rate, needs.seconds) == ("measured", pytest.approx(100))
    longer = jobs("finetune", finetune=SUITE.finetune.model_copy(update={"steps": 900}))[0]
    assert seconds(longer, store) == pytest.approx(300)
    assert Estimator(store, CPU).needs(jobs("train")[0]).rate == "stated"


def test_rates_of_another_network_or_device_do_not_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, jobs("finetune")[0], 100.0)
    heavy = jobs("finetune", **HEAVY)[0]
    assert Estimator(store, A100.name).needs(heavy).rate == "stated"
    finish(store, heavy, 7200.0, A100.name)
    assert seconds(jobs("finetune", **HEAVY)[1], store, A100.name) == pytest.approx(7200)
    assert Estimator(store, SMALL_GPU.name).needs(heavy).rate == "stated"


def test_an_artifact_of_another_version_or_a_broken_one_is_passed_over(tmp_path: Path) -> None:
    store, (first, second, third, *_) = Store(tmp_path), jobs("finetune")
    finish(store, first, 100.0)
    finish(store, second, 1.0)
    finish(store, third, 1.0)
    for job, text in ((second, '{"params": {"older": 1}, "seconds": 1, "files": {}}'), (third, "{")):
        (store.path("finetune", job.key) / "manifest.json").write_text(text)
    assert seconds(first, store) == pytest.approx(100)


def test_stated_rates_are_near_the_reference_runs(tmp_path: Path) -> None:
    """results/reference/digits was made on two cores of a server: within a factor of three."""
    import pandas as pd

    records = pd.read_csv(ROOT / "results" / "reference" / "digits" / "records.csv")
    took = records.loc[records["augmentation"] == "terra", "seconds"].median()
    assert took / 3 < seconds(jobs("train")[0], Store(tmp_path)) < took * 3


def test_small_jobs_take_no_gpu_and_large_ones_do() -> None:
    assert not any(map(cost.takes_gpu, plan().jobs))
    heavy = plan(**HEAVY).jobs
    assert {job.kind for job in heavy if cost.needs_gpu(job)} >= {"finetune"}
    assert all(cost.takes_gpu(job) for job in heavy if cost.needs_gpu(job))


def test_sizes_of_a_folder_are_read_from_its_weights(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    save_file(
        {
            "a.weight": np.zeros((8, 4), "float32"),
            "a.bias": np.zeros(8, "float32"),
            "b.weight": np.zeros((6, 5, 3, 3), "float16"),
        },
        tmp_path / "unet" / "model.safetensors",
        {"format": "pt"},
    )
    found = denoiser(BaseModelSpec(name=str(tmp_path), resolution=64))
    assert found.parameters == 32 + 8 + 270
    assert found.per_rank == (4 + 8) + (45 + 6)
    assert found.multiply_adds / found.parameters == pytest.approx(SD15.multiply_adds / SD15.parameters)
    (tmp_path / "text_encoder_2").mkdir()
    denoiser.__globals__["_scaled"].cache_clear()
    assert denoiser(BaseModelSpec(name=str(tmp_path), resolution=64)).side == SDXL.side


@pytest.mark.slow
def test_the_size_of_mini_is_what_counting_says() -> None:
    import torch
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    unet = UNet2DConditionModel.from_pretrained(config.MINI / "unet", use_safetensors=True)
    size, width = unet.config.sample_size, unet.config.cross_attention_dim
    with FlopCounterMode(display=False) as counted:
        unet(torch.randn(1, 4, size, size), torch.ones(1), encoder_hidden_states=torch.randn(1, 8, width))
    assert counted.get_total_flops() / 2 == pytest.approx(MINI.multiply_adds, rel=0.01)
    layers = [m.weight for m in unet.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    assert sum(w[0].numel() + len(w) for w in layers) == pytest.approx(MINI.per_rank, rel=0.01)
    assert sum(p.numel() for p in unet.parameters()) == pytest.approx(MINI.parameters, rel=0.01)


# ------------------------------------------------------------------------------------------ before a run


def test_no_gpu_where_one_is_needed_is_said_with_what_to_do_instead(tmp_path: Path) -> None:
    todo, here = plan(**HEAVY).jobs, Capacity(cpus=2)
    with pytest.raises(
        UserError, match=r"need a GPU \(such as .*there is none here.*--cpu, in about \d+ days.*mini"
    ):
        preflight.check(todo, Store(tmp_path), here, cpu=False)
    assert preflight.check(todo, Store(tmp_path), here, cpu=True) == []
    large = Gpu("GPU-l", "a large one", 400.0)
    assert preflight.check(todo, Store(tmp_path), Capacity(cpus=2, gpus=(large,)), cpu=False) == []
    assert preflight.check(plan().jobs, Store(tmp_path), here, cpu=False) == []


def test_too_little_gpu_memory_is_told_with_what_to_change_in_order(tmp_path: Path) -> None:
    said = preflight.check(
        plan(**HEAVY).jobs, Store(tmp_path), Capacity(cpus=2, gpus=(SMALL_GPU,)), cpu=False
    )
    (tuned,) = [text for text in said if "finetune" in text]
    assert "NVIDIA T4 has 15" in tuned
    assert tuned.endswith(
        "change, in this order: finetune.gradient_checkpointing (False, to True), "
        "finetune.gradient_accumulation (1, to 4), finetune.precision (fp32, to bf16), "
        "finetune.optimizer (adamw, to adamw8bit), finetune.batch_size (4, to less), "
        "adapter.rank (8, to less), base_model.resolution (1024, to less)"
    )
    (made,) = [text for text in said if text.startswith("generate")]
    assert "generate.batch_size (50, to auto), generate.precision (fp32, to bf16)" in made


def test_more_processes_than_gpus_are_refused_and_fewer_share_the_time(tmp_path: Path) -> None:
    settings = HEAVY["finetune"].model_copy(update={"processes": 2})
    shared = plan(**HEAVY | {"finetune": settings}).jobs
    with pytest.raises(UserError, match=r"finetune.processes is 2, .* and there are 1 here"):
        preflight.check(shared, Store(tmp_path), Capacity(cpus=2, gpus=(A100,)), cpu=False)
    preflight.check(shared, Store(tmp_path), Capacity(cpus=2, gpus=(A100, A100)), cpu=False)
    one, two = (next(job for job in jobs if job.kind == "finetune") for jobs in (plan(**HEAVY).jobs, shared))
    assert seconds(one, Store(tmp_path), A100.name) == pytest.approx(
        2 * seconds(two, Store(tmp_path), A100.name)
    )
    assert cost.cpus(two) == 2 * cost.cpus(one)
    assert preflight.at_a_time(shared, Capacity(cpus=8, gpus=(A100,) * 5)) == 2


@pytest.mark.parametrize(
    "lower",
    [
        {"gradient_checkpointing": True},
        {"optimizer": "adamw8bit"},
        {"precision": "fp16"},
        {"processes": 2},
        {"gradient_accumulation": 2},
    ],
)
def test_what_lowers_memory_lowers_its_estimate(lower: dict[str, object]) -> None:
    def memory(**changes: object) -> float:
        tuned = HEAVY["finetune"].model_copy(update=changes)
        return cost.gpu_gib(jobs("finetune", **HEAVY | {"finetune": tuned})[0])

    assert memory(**lower) < memory() < memory(ema=0.99)
    assert memory(**lower, ema=0.99) > memory(**lower)


def test_latents_of_a_fine_tuning_take_disk_while_it_is_under_way(tmp_path: Path) -> None:
    """Four channels of 128 x 128 numbers of four bytes for each image of both domains, at 1,024 px."""
    card = config.read_card("visda2017")
    suite = config.read_suite("visda2017")
    fresh = make_plan(suite, card, BaseModelSpec(name="sdxl"))
    assert cost.scratch(next(job for job in fresh.jobs if job.kind == "finetune")) == 0
    cached = suite.finetune.model_copy(update={"encoding": "cached"})
    heavy = make_plan(suite.model_copy(update={"finetune": cached}), card, BaseModelSpec(name="sdxl"))
    job = next(job for job in heavy.jobs if job.kind == "finetune")
    assert cost.scratch(job) == 4 * 128 * 128 * 4 * (152397 + 55388)
    assert "GiB of latents in addition" in preflight.as_text(heavy, Store(tmp_path), Capacity(cpus=2))
    assert "GiB of latents in addition" not in preflight.as_text(plan(), Store(tmp_path), Capacity(cpus=2))


def lorweb_jobs(context: str) -> dict[str, Job]:
    """Of VisDA's one task by a LoRWeB: the fine-tuning, and making adapted images."""
    suite, card = config.read_suite("visda2017"), config.read_card("visda2017")
    lorweb = config.AdapterSpec(type="lorweb", rank=1, analogy=config.AnalogySpec(context=context))
    mix = suite.mix.model_copy(update={"sets": ["adapted"]})
    cached = suite.finetune.model_copy(update={"encoding": "cached"})
    told = {"adapters": {"lorweb": lorweb}, "augmentations": ["none", "lorweb"], "mix": mix}
    told |= {"finetune": cached}
    heavy = make_plan(suite.model_copy(update=told), card, BaseModelSpec(name="sdxl"))
    return {job.kind: job for job in heavy.jobs}


def one_pass(spec: BaseModelSpec) -> float:
    """Multiply-adds of its denoiser, for one image."""
    network = denoiser(spec)
    return network.pass_at(spec.resolution)


def test_a_lorweb_keeps_the_latents_of_the_domains_of_its_analogies() -> None:
    assert cost.scratch(lorweb_jobs("inversion")["finetune"]) == 4 * 128 * 128 * 4 * (152397 + 55388)


def test_a_grid_is_four_images_in_each_pass_and_nothing_is_inverted() -> None:
    plain, grid = lorweb_jobs("inversion"), lorweb_jobs("grid")
    assert cost.work(grid["finetune"]) == 4 * cost.work(plain["finetune"])
    params = grid["generate"].params
    assert params.inversion.depth == 1
    assert params.inversion.statistics == "own"
    assert cost.gpu_gib(grid["generate"]) > cost.gpu_gib(plain["generate"])
    guided = 1 if params.guidance.weight == 1 else 2
    assert grid["generate"].declaration.work(params, 1) == params.steps * guided * 4 * one_pass(
        params.base_model
    )


def test_what_is_lowered_already_is_not_named() -> None:
    frugal = {"batch_size": 1, "gradient_checkpointing": True, "precision": "fp16", "optimizer": "adamw8bit"}
    tuned = HEAVY["finetune"].model_copy(update=frugal)
    lower = cost.memory_advice(jobs("finetune", **HEAVY | {"finetune": tuned})[0])
    assert lower == "change, in this order: adapter.rank (8, to less), base_model.resolution (1024, to less)"
    half = SUITE.train.model_copy(update={"precision": "bf16"})
    assert "train.precision" not in cost.memory_advice(jobs("train", train=half)[0])
    assert "train.precision (fp32, to bf16)" in cost.memory_advice(jobs("train")[0])


def nvidia_smi(folder: Path, lines: str, code: int = 0) -> None:
    """A program that answers as nvidia-smi does."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{lines}'\nexit {code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


TWO_GPUS = "0, GPU-aaaa, NVIDIA A100, 81920\\n1, GPU-bbbb, NVIDIA T4, 15360\\n"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["NVIDIA A100", "NVIDIA T4"]),
        ("1", ["NVIDIA T4"]),
        ("1,0", ["NVIDIA T4", "NVIDIA A100"]),
        ("GPU-bb", ["NVIDIA T4"]),
        ("", []),
        ("-1", []),
    ],
)
def test_gpus_are_those_that_may_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    nvidia_smi(tmp_path, TWO_GPUS)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in hardware.gpus()] == names
    assert all(gpu.gib in (80, 15) for gpu in hardware.gpus())


def test_a_gpu_that_is_not_there_and_a_driver_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    nvidia_smi(tmp_path, TWO_GPUS)
    with pytest.raises(UserError, match=r"'7' is not one of the GPUs.*0 \(GPU-aaaa\)"):
        hardware.gpus()
    nvidia_smi(tmp_path, "no devices", code=9)
    assert hardware.gpus() == ()


def test_under_dg_work_grows_with_domains_points_images_and_examples(tmp_path: Path) -> None:
    store, dg = Store(tmp_path), config.read_suite("digits_dg")

    def dg_jobs(kind: str, **changes: object) -> list[Job]:
        whole = make_plan(dg.model_copy(update=changes), CARD, dg.base_model)
        return [job for job in whole.jobs if job.kind == kind and "UC" in job.label]

    grid = dg.generate.grid
    fewer = dg.generate.model_copy(update={"grid": grid.model_copy(update={"points": 6, "per_class": 4})})
    made, quarter = dg_jobs("interpolate")[0], dg_jobs("interpolate", generate=fewer)[0]
    assert seconds(made, store) == pytest.approx(4 * seconds(quarter, store))
    # Sources that are inverted take a pass more than the two of guidance.
    inverted = dg.generate.model_copy(
        update={"grid": grid.model_copy(update={"start": "source"}), "inversion_statistics": "own"}
    )
    assert seconds(dg_jobs("interpolate", generate=inverted)[0], store) == pytest.approx(
        1.5 * seconds(made, store)
    )
    # Three domains of 16 images are as many as the two of 24 of digits.
    assert seconds(dg_jobs("finetune")[0], store) == pytest.approx(seconds(jobs("finetune")[0], store))
    predictor = dg.t_predictor.model_copy(update={"epochs": 20})
    once, twice = dg_jobs("t_predictor")[0], dg_jobs("t_predictor", t_predictor=predictor)[0]
    assert seconds(twice, store) == pytest.approx(2 * seconds(once, store))
    flow = SUITE.generate.model_copy(update={"flow": config.FlowSettings(examples=16)})
    assert seconds(jobs("flow", generate=flow)[0], store) == pytest.approx(
        2 * seconds(jobs("flow")[0], store)
    )


# ------------------------------------------------------------------------------------------------ as printed


def test_the_table_of_a_plan_says_what_is_needed_and_by_which_rates(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), plan()
    for job in (whole.data, *(cell.job for cell in whole.cells[:4])):
        finish(store, job, 30.0)
    text = preflight.as_text(whole, store, Capacity(cpus=2))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["prepare"][:3] == ["1", "1", "0.00"]
    assert rows["train"][:2] == ["216", "4"]
    assert rows["train"][-1] == "measured"
    assert rows["finetune"][-1] == "stated"
    assert rows["all"][:2] == ["266", "5"]
    assert float(rows["train"][2]) == pytest.approx(212 * 30 / 3600, abs=0.01)
    assert "2 at a time here, about" in text
    assert "measured: the median" in text
    assert "stated: 15e9" in text


def test_json_says_the_same_for_machines(tmp_path: Path) -> None:
    told = json.loads(json.dumps(preflight.as_json(plan(**HEAVY), Store(tmp_path), Capacity(cpus=2))))
    assert told["device"] == GPU
    (tuned,) = {json.dumps(job["needs"]) for job in told["jobs"] if job["kind"] == "finetune"}
    needs = json.loads(tuned)
    assert needs["gpu_gib"] > 80
    assert needs["rate"] == "stated"
    assert needs["cpus"] == 1
    work = 5000 * 8 * 2 * SDXL.multiply_adds
    assert needs["seconds"] == pytest.approx(work / 1e13)
    assert needs["disk"] == pytest.approx(4 * 8 * SDXL.per_rank)
    assert sum(job["needs"]["disk"] for job in told["jobs"]) < 100 * GIB
    text = preflight.as_text(plan(**HEAVY), Store(tmp_path), Capacity(cpus=2))
    assert "there is no GPU here, and `run` asks for one, or for --cpu" in text


@pytest.mark.parametrize(
    ("name", "count"),
    [("office_home", 553), ("visda2017", 47), ("office_home_dg", 109), ("pacs", 109)],
)
def test_suites_of_real_images_are_planned_in_two_seconds(name: str, count: int, tmp_path: Path) -> None:
    """Of one core: other work on this machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(ROOT / "run_benchmark.py"), "plan", name, "--json"]
    done = subprocess.run([*command, "--store", str(tmp_path)], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(json.loads(done.stdout)["jobs"]) == count
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
