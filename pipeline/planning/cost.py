"""What a job will need: CPU cores, a GPU and its memory, disk, time. Imports no torch.

Time is work over a rate. Work is counted in multiply-adds of the networks in use; the rate is measured, where jobs of
the kind with the same network are in the store, and else stated (RATES). Either may be wrong by a factor of two: it is
for deciding whether to start, and on what.
"""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from pipeline.config import (
    BetweenParams,
    FinetuneParams,
    FlowParams,
    GenerateParams,
    InterpolateParams,
    MorphsParams,
    PairLorasParams,
    PrepareParams,
    SamplingParams,
    Strict,
    TPredictorParams,
    TrainParams,
)
from pipeline.core.store import MANIFEST, Store
from pipeline.planning.graph import PARAMS, Job
from pipeline.planning.network_sizes import GIB, backbone, denoiser

CPU = "cpu"
"""As a manifest names the device of a job that was on no GPU."""

GPU = "an NVIDIA A100"
"""The GPU whose rate is stated."""

RATES = {CPU: 15e9, GPU: 1e13}
"""Multiply-adds a second, of one core and of a GPU.

CPU: what the jobs of benchmarks/digits.yaml come to on one core of a server. GPU: NVIDIA's figures for training
ResNet-50 on an A100 in TF32 are about 800 images a second, of 3 x 4.1e9 multiply-adds each.
"""

HALF_FASTER = 3.0
"""A GPU computes so many times faster in half precision: NVIDIA's figures for the same in mixed precision are about
2,500 images a second."""

IMAGES_A_SECOND = 500.0
"""Read, checked and stored by `prepare`, on one core."""

GPU_AFTER = 600.0
"""Seconds that a job may take on one CPU core, by the stated rate, before it is one for a GPU, if there is one."""

NEEDS_GPU_AFTER = 6 * 3600.0
"""The same, before a suite is not begun without a GPU, unless --cpu is said."""

PASSES = 3
"""A step of training costs so many times the forward pass; one more where activations are computed twice."""

CHECKPOINTED = 1 / 12
"""The share of activations that gradient checkpointing keeps, with the block at work: counted on SDXL and SD 1.5."""

TWICE = {"SDAT", "ELS", "SAGM"}
"""Methods whose step computes gradients twice, for they seek flat minima."""

ENCODERS = 1.4
"""A base model has so many times the parameters of its denoiser, with its text encoders and its VAE."""

QUARTERS = 4
"""A pass over a grid of an analogy's images costs so many times that over one; more where there is attention."""

SAMPLE = 40
"""So many artifacts of a kind are looked at for its rate."""


@dataclass(frozen=True)
class Needs:
    """What one job takes.

    gpu_gib: of its memory, None where it takes no GPU; disk: bytes of its product; seconds: on the device in question,
    None where nothing is known of the kind; rate: where the seconds are from.
    """

    cpus: int
    gpu_gib: float | None
    disk: float
    seconds: float | None
    rate: str


def _batch(params: TrainParams) -> int:
    """Images in a step: of the source and of the target, or of every domain."""
    return params.settings.batch_size * (2 if params.setting == "uda" else len(params.sources))


def _images(job: Job) -> int:
    """How many images a job of stage two makes, or a t-predictor learns from; the most, where its inputs decide."""
    params = job.params
    if isinstance(params, GenerateParams) and params.per_class is not None:
        return params.per_class * len(params.words)
    if isinstance(params, GenerateParams):
        return job.inputs["data"].params.card.domains[params.pair.source].train
    if isinstance(params, InterpolateParams):
        points = params.grid.most(job.inputs["adapter"].params.adapter.t_dim)
        return points * params.grid.per_class * len(params.domains.words)
    if isinstance(params, FlowParams):
        return params.examples * len(params.times)
    if isinstance(params, TPredictorParams):
        domains = job.inputs["data"].params.card.domains
        return sum(domains[name].train for name in params.domains)
    return 0


def _tuned_images(params: FinetuneParams) -> int:
    """In a step: of the source and of the target, or of every domain; a grid is four."""
    parts = 2 if params.domains is None else len(params.domains.sources)
    return _quarters(params) * parts * params.settings.batch_size


def _quarters(params: FinetuneParams | SamplingParams) -> int:
    """Images in what the denoiser sees as one."""
    told = params.adapter.analogy if isinstance(params, FinetuneParams) else params
    return QUARTERS if getattr(told, "context", "") == "grid" else 1


def _passes(params: SamplingParams) -> int:
    """Of the denoiser, in a step for an image; one of a grid is four."""
    passes = 1 if params.guidance.weight == 1 else 2
    if _quarters(params) > 1:
        return QUARTERS * passes
    inverted = isinstance(params, FlowParams) or (
        params.contents == "adapted" if isinstance(params, GenerateParams) else params.grid.start == "source"
    )
    if inverted:
        passes += 1 + params.inversion.refinements
    if params.inversion.statistics == "target":
        passes += 1 + params.inversion.refinements
    return passes


def _morphs(params: PairLorasParams | MorphsParams) -> int:
    """How many morphs a job makes, or two LoRAs for."""
    if isinstance(params, MorphsParams):
        return params.pairs
    return params.pairs * len(params.domains.words) * comb(len(params.domains.sources), 2)


def _morph_passes(params: PairLorasParams | MorphsParams) -> int:
    """Of the denoiser, for one image of one morph: tuning, inversion, and frames, which DiffMorpher paints twice."""
    morph = params.morph
    tunes = not isinstance(params, BetweenParams) and getattr(params, "method", "") != "ddim"
    tuning = PASSES * morph.tune_steps * 2 * morph.batch_size if tunes else 0
    if not isinstance(params, BetweenParams | MorphsParams):
        return tuning
    frames = params.frames * (2 if "diffmorpher" in params.method else 1)
    return tuning + morph.steps * (2 * (1 + morph.refinements) + frames)


def work(params: Strict, images: int) -> float | None:
    """Multiply-adds of a job (images of `prepare`), or None of a kind of which nothing is known.

    images: see _images.
    """
    if isinstance(params, PrepareParams):
        return float(sum(domain.train + (domain.test or 0) for domain in params.card.domains.values()))
    if isinstance(params, FinetuneParams):
        network, settings = denoiser(params.base_model), params.settings
        each = network.multiply_adds * network.at(params.base_model.resolution)
        passes = PASSES + settings.gradient_checkpointing
        return settings.steps * _tuned_images(params) * passes * each
    if isinstance(params, SamplingParams):
        network = denoiser(params.base_model)
        each = network.multiply_adds * network.at(params.base_model.resolution)
        return images * params.steps * _passes(params) * each
    if isinstance(params, PairLorasParams | MorphsParams):
        network = denoiser(params.base_model)
        each = network.multiply_adds * network.at(params.base_model.resolution)
        return _morphs(params) * _morph_passes(params) * each
    if isinstance(params, TPredictorParams):
        network = backbone(params)
        each = network.multiply_adds * network.at(params.image_size)
        return params.settings.epochs * images * PASSES * each
    if isinstance(params, TrainParams):
        network, twice = backbone(params), 2 if params.method in TWICE else 1
        each = network.multiply_adds * network.at(params.image_size)
        return params.settings.iterations * _batch(params) * PASSES * twice * each
    return None


def cpus(job: Job) -> int:
    """The CPU cores that a job keeps busy: its threads, of all its processes, and those that prepare its batches."""
    readers = job.params.settings.workers if isinstance(job.params, TrainParams) else 0
    return getattr(job.params, "threads", 1) * processes(job.params) + readers


def processes(params: Strict) -> int:
    """How many processes share a job, each with a GPU of its own, if it takes any."""
    return params.settings.processes if isinstance(params, FinetuneParams) else 1


def _cpu_seconds(job: Job) -> float:
    """On one core, by the stated rate."""
    amount = work(job.params, _images(job))
    return 0.0 if amount is None or isinstance(job.params, PrepareParams) else amount / RATES[CPU]


def takes_gpu(job: Job) -> bool:
    """Whether a job is made on a GPU where there is one. Follows from its parameters alone."""
    return _cpu_seconds(job) > GPU_AFTER


def needs_gpu(job: Job) -> bool:
    """Whether a job would take too long without a GPU for anyone to mean it."""
    return _cpu_seconds(job) > NEEDS_GPU_AFTER


def _half(params: Strict) -> int:
    """2 where a job computes in half precision, 1 else."""
    settings = params if isinstance(params, SamplingParams) else params.settings
    return 1 if getattr(settings, "precision", "fp32") == "fp32" else 2


def gpu_gib(job: Job) -> float:
    """GiB of a GPU's memory: weights, what training keeps of them, and activations, in the precision of the job."""
    params = job.params
    if isinstance(params, FinetuneParams):
        network, settings = denoiser(params.base_model), params.settings
        moments = 2 if settings.optimizer == "adamw8bit" else 8
        each = 8 + moments + (0 if settings.ema is None else 4)  # of each number learned, with its gradient
        at_once = _tuned_images(params) / settings.processes / settings.gradient_accumulation
        share = CHECKPOINTED if settings.gradient_checkpointing else 1.0
        kept = share * at_once * network.activations * network.at(params.base_model.resolution)
        half = _half(params)
        return (
            4 * ENCODERS * network.parameters / half
            + each * network.per_rank * params.adapter.width
            + kept / half
        ) / GIB
    if isinstance(params, SamplingParams):  # three denoisers, of which one is at work, and keeps only a layer
        network = denoiser(params.base_model)
        at_once = params.batch_size * _quarters(params)
        kept = at_once * network.activations * network.at(params.base_model.resolution) / 20
        return (4 * (2 + ENCODERS) * network.parameters + kept) / _half(params) / GIB
    if isinstance(params, PairLorasParams | MorphsParams):  # two denoisers, one of which is tuned or at work
        network, morph = denoiser(params.base_model), params.morph
        batch = max(2 * morph.batch_size, morph.at_a_time / 20)
        kept = batch * network.activations * network.at(params.base_model.resolution)
        return (4 * (1 + ENCODERS) * network.parameters + 32 * network.per_rank * morph.rank + kept) / GIB
    if isinstance(params, TPredictorParams):
        network = backbone(params)
        kept = params.settings.batch_size * network.activations * network.at(params.image_size)
        return (16 * network.parameters + kept) / GIB  # Adam keeps two moments
    if isinstance(params, TrainParams):
        network = backbone(params)
        kept = _batch(params) * network.activations * network.at(params.image_size) / _half(params)
        return (12 * network.parameters + kept) / GIB
    return 0.0


def disk(job: Job) -> float:
    """Bytes of a job's product, by its parameters."""
    params = job.params
    if isinstance(params, PrepareParams):
        return 3.0 * params.card.image_size**2 * (work(params, 0) or 0)
    if isinstance(params, FinetuneParams):
        return 4 * denoiser(params.base_model).per_rank * params.adapter.width
    if isinstance(params, SamplingParams):  # a PNG has about half the bytes of its pixels
        return 1.5 * _images(job) * params.base_model.resolution**2
    if isinstance(params, BetweenParams | MorphsParams):
        return 1.5 * _morphs(params) * params.frames * params.base_model.resolution**2
    if isinstance(params, PairLorasParams):
        return 8 * _morphs(params) * denoiser(params.base_model).per_rank * params.morph.rank
    if isinstance(params, TPredictorParams):
        return 4 * backbone(params).parameters
    if isinstance(params, TrainParams):
        return 5e5 + (4 * backbone(params).parameters if params.settings.keep_weights else 0)
    return 0.0


def scratch(job: Job) -> float:
    """Bytes that a job keeps only while it is under way: the latents of the images that it tunes on (encoding.py)."""
    params = job.params
    if not isinstance(params, FinetuneParams) or params.base_model.name == "mini":
        return 0.0
    domains = job.inputs["data"].params.card.domains
    images = sum(domains[name].train for name in _encoded(params))
    return 16.0 * (params.base_model.resolution / 8) ** 2 * images


def _encoded(params: FinetuneParams) -> list[str]:
    """The domains whose images are encoded; one that is a source and a target is so twice."""
    if params.domains is not None:
        return params.domains.sources
    pairs = [params.pair] if params.analogies is None else params.analogies.pairs
    return [*{pair.source for pair in pairs}, *{pair.target for pair in pairs}]


def what_to_lower(params: Strict) -> str:
    """Where the GPU's memory is too small: which fields of the suite to change, those that cost least in quality first."""
    if isinstance(params, TrainParams):
        settings = params.settings
        fields = [
            ("train.precision", settings.precision, "bf16"),
            ("train.batch_size", settings.batch_size, None),
            ("train.backbone", settings.backbone, "a smaller one"),
        ]
    elif isinstance(params, TPredictorParams):
        fields = [
            ("t_predictor.batch_size", params.settings.batch_size, None),
            ("t_predictor.backbone", params.settings.backbone, "a smaller one"),
        ]
    elif isinstance(params, SamplingParams):
        fields = [
            ("generate.batch_size", params.batch_size, None),
            ("generate.precision", params.precision, "bf16"),
            ("base_model.resolution", params.base_model.resolution, None),
        ]
    elif isinstance(params, FinetuneParams):
        settings = params.settings
        passes = settings.batch_size // settings.processes
        fields = [
            ("finetune.gradient_checkpointing", settings.gradient_checkpointing, True),
            ("finetune.gradient_accumulation", settings.gradient_accumulation, passes),
            ("finetune.precision", settings.precision, "bf16"),
            ("finetune.optimizer", settings.optimizer, "adamw8bit"),
            ("finetune.batch_size", settings.batch_size, None),
            ("adapter.rank", params.adapter.rank, None),
            ("base_model.resolution", params.base_model.resolution, None),
        ]
    elif isinstance(params, PairLorasParams | MorphsParams):
        field = "morph" if isinstance(params, MorphsParams) else "generate.between.morph"
        fields = [
            (f"{field}.at_a_time", params.morph.at_a_time, 3),
            (f"{field}.batch_size", params.morph.batch_size, None),
            (f"{field}.rank", params.morph.rank, None),
            ("base_model.resolution", params.base_model.resolution, None),
        ]
    else:
        return "use a GPU with more memory"
    done = {None: (1,), "bf16": ("bf16", "fp16")}
    said = [
        f"{name} ({now}, to {to or 'less'})" for name, now, to in fields if now not in done.get(to, (to,))
    ]
    return f"change, in this order: {', '.join(said)}"


class Estimator:
    """Estimates for one device: `device` is the name of a GPU, or CPU."""

    def __init__(self, store: Store, device: str) -> None:
        self.device, self.store = device, store
        self.measured: dict[str, dict[str, float]] = {}

    def needs(self, job: Job) -> Needs:
        """What `job` takes, on the GPU if it is one for it and on the CPU else."""
        on_gpu = self.device != CPU and takes_gpu(job)
        device = self.device if on_gpu else CPU
        amount = work(job.params, _images(job))
        measured = self._rates(job.kind).get(f"{_network(job.params)} {device}")
        if amount is None:
            seconds = None
        else:
            seconds = amount / (measured or _stated(job, on_gpu)) / processes(job.params)
        rate = "measured" if measured is not None else "stated" if amount is not None else "unknown"
        return Needs(cpus(job), gpu_gib(job) if takes_gpu(job) else None, disk(job), seconds, rate)

    def _rates(self, kind: str) -> dict[str, float]:
        """Work a second of finished jobs of a kind, by network and device: the median of a sample of the store."""
        if kind not in self.measured:
            found: dict[str, list[float]] = {}
            for about in _finished(self.store.root / "artifacts" / kind):
                try:
                    params = PARAMS[kind].model_validate(about["params"])
                except ValidationError:
                    continue  # an artifact of another version, whose parameters had another form
                images = sum(name.startswith("images/") for name in about["files"])
                rate = (work(params, images) or 0.0) / max(about["seconds"], 1e-3) / processes(params)
                if rate:  # a manifest does not tell how many images a t-predictor learned from
                    found.setdefault(f"{_network(params)} {about.get('device', CPU)}", []).append(rate)
            self.measured[kind] = {name: median(rates) for name, rates in found.items()}
        return self.measured[kind]


def _finished(folder: Path) -> Iterable[dict[str, Any]]:
    """The manifests of some of the artifacts in `folder`; a damaged one is for `verify` to name."""
    for path in islice(folder.iterdir(), SAMPLE) if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            yield json.loads((path / MANIFEST).read_text())


def _network(params: Strict) -> str:
    """What two jobs have in common whose rates can be compared."""
    if isinstance(params, TrainParams):
        return f"{params.settings.backbone} {params.threads}"
    if isinstance(params, TPredictorParams):
        return f"{params.settings.backbone} {params.threads}"
    if isinstance(params, FinetuneParams | SamplingParams | PairLorasParams | MorphsParams):
        return f"{params.base_model.name} {params.base_model.resolution} {params.threads}"
    return ""


def _stated(job: Job, on_gpu: bool) -> float:
    """The stated rate of the work of `job`."""
    if isinstance(job.params, PrepareParams):
        return IMAGES_A_SECOND
    if on_gpu:
        return RATES[GPU] * (HALF_FASTER if _half(job.params) == 2 else 1)
    return RATES[CPU] * getattr(job.params, "threads", 1)
