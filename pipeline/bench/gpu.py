"""Measure the speed of a card at each stage, with networks of the true architecture and random weights.

On a machine without a GPU, the small models of the digits suites are measured on one core instead.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipeline.backbones import make_backbone
from pipeline.bench.timing import Log, timed
from pipeline.config import AdapterSpec, BaseModelSpec, Precision, TrainSettings
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.base_model import BaseModel, default_device
from pipeline.diffusion.finetune.data import Batch
from pipeline.diffusion.finetune.trainer import losses
from pipeline.diffusion.loading import DTYPES
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings, denoise
from pipeline.planning.network_sizes import FROZEN_TRAINING_PASSES, GIB, NETWORKS, TRAINING_PASSES
from pipeline.planning.rates import CPU, CardRates, Measurement

NETWORKS_FILE = Path(__file__).with_name("gpu_networks.json")
"""The configurations of the denoisers and of their VAE."""

PRECISIONS: tuple[Precision, ...] = ("fp16", "bf16")
WARM_UP = 2


@dataclass(frozen=True)
class Sizes:
    """What is measured on a device.

    Attributes:
        base_models: By name, images in a pass.
        backbones: By name, images in a training step.
        precisions: Precisions of the passes.
    """

    base_models: dict[str, int]
    backbones: dict[str, int]
    precisions: tuple[Precision, ...]


ON_GPU = Sizes(
    {"sd15": 16, "sdxl": 4},
    {"resnet50": 72, "resnet101": 72, "vit_base_patch16_224": 64},
    PRECISIONS,
)
ON_CPU = Sizes({"mini": 16}, {"digits_cnn": 72}, ("fp32",))


def measure(turns: int, log: Log, sizes: Sizes | None = None) -> dict[str, Any]:
    """Measure every step of `sizes` on the GPU of this process, or on one core if it has none.

    Args:
        turns: How often each step is timed, after WARM_UP rounds that do not count.
        log: Called with what is being measured.
        sizes: What to measure; None for what suits the device.

    Returns:
        The fields of CardRates.
    """
    device = default_device()
    on_gpu = device.type == "cuda"
    if not on_gpu:
        log("there is no GPU here: the small models are measured on one CPU core")
    sizes = sizes or (ON_GPU if on_gpu else ON_CPU)
    bench, threads = _Bench(device, turns, log), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for precision in sizes.precisions:
            for name, images in sizes.base_models.items():
                bench.base_model(name, images, precision)
            for name, images in sizes.backbones.items():
                bench.backbone(name, images, precision)
    finally:
        torch.set_num_threads(threads)
    rates = CardRates(
        format=1,
        card=torch.cuda.get_device_name(device) if on_gpu else CPU,
        gib=torch.cuda.get_device_properties(device).total_memory / GIB if on_gpu else None,
        versions={name: version(name) for name in ("torch", "diffusers", "timm")},
        measurements=bench.found,
    )
    return rates.model_dump()


def described(measured: dict[str, Any]) -> str:
    """Describe the measurements, one per line."""
    lines = [f"card: {measured['card']}"]
    for one in CardRates.model_validate(measured).measurements:
        memory = "" if one.gib is None else f", {one.gib:.1f} GiB"
        recomputed = ", checkpointing" if one.checkpointing else ""
        lines.append(
            f"{one.step:<9} {one.network:<22} {one.precision}{recomputed}: {1000 * one.seconds:.1f} ms for "
            f"{one.images} images of {one.resolution} px, {one.rate:.2e} multiply-adds a second{memory}"
        )
    return "\n".join(lines)


class _Bench:
    """Times steps on one device, and collects what it found."""

    def __init__(self, device: torch.device, turns: int, log: Log) -> None:
        self.device, self.turns, self.log = device, turns, log
        self.found: list[Measurement] = []

    def base_model(self, name: str, images: int, precision: Precision) -> None:
        """Measure passes, the VAE and fine-tuning of one base model."""
        model, embedded = random_base_model(name, precision, self.device)
        # Copies, because fine-tuning cannot use what was computed in inference mode.
        prompts = PromptEmbeddings(**{part: tensor.clone() for part, tensor in embedded.tensors().items()})
        latents = torch.randn(images, *model.latent_shape, device=self.device)

        def denoised(n: int) -> None:
            denoise(model.denoiser, latents[:n], 500, prompts.expand(n))

        pixels = torch.randint(0, 256, (images, model.resolution, model.resolution, 3)).byte().numpy()
        about = {"network": name, "resolution": model.resolution, "precision": precision}
        with torch.inference_mode():
            self._time("denoise", images, 1.0, denoised, about)
            self._time("encode", images, 1.0, lambda n: model.encode(pixels[:n]), about)
            self._time("decode", images, 1.0, lambda n: model.decode(latents[:n]), about)
        adapter = make_adapter(model.denoiser, AdapterSpec(rank=32, alpha=32.0, include=".*attn.*"), seed=0)
        optimizer = torch.optim.AdamW(adapter.parameters())
        half = DTYPES[precision]

        def tuned(n: int) -> None:
            batch = Batch(latents[:n], prompts.expand(n), latents[:n], torch.full((n,), 500), torch.zeros(n))
            adapter.set_condition(batch.condition)
            optimizer.zero_grad()
            with torch.autocast(self.device.type, half, enabled=half != torch.float32):
                (loss,) = losses(model, batch, 1)
            loss.backward()
            optimizer.step()

        for checkpointing in (False, True):
            if checkpointing:
                model.pipe.unet.enable_gradient_checkpointing()
            passes = FROZEN_TRAINING_PASSES + float(checkpointing)
            self._time("finetune", images, passes, tuned, about | {"checkpointing": checkpointing})

    def backbone(self, name: str, images: int, precision: Precision) -> None:
        """Measure a training step of one backbone."""
        network = make_backbone(TrainSettings(backbone=name, iterations=1), "train").to(self.device)
        side, width = NETWORKS[name].side, cast("int", network.num_features)
        model = nn.Sequential(network, nn.Linear(width, 65, device=self.device)).train()
        model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        batch = torch.randn(images, 3, side, side, device=self.device)
        labels, half = torch.zeros(images, dtype=torch.int64, device=self.device), DTYPES[precision]

        def trained(n: int) -> None:
            optimizer.zero_grad()
            with torch.autocast(self.device.type, half, enabled=half != torch.float32):
                logits = model(batch[:n])
            cross_entropy(logits.float(), labels[:n]).backward()
            optimizer.step()

        about = {"network": name, "resolution": side, "precision": precision}
        self._time("train", images, float(TRAINING_PASSES), trained, about)

    def _time(
        self, step: str, images: int, passes: float, work: Callable[[int], object], about: dict[str, Any]
    ) -> None:
        """Time `work`, with half the images as long as they do not fit into the memory of the GPU."""
        while images:
            self.log(f"{step} {about['network']} {about['precision']}: {images} images")
            try:
                seconds, gib = self._timed(images, work)
            except torch.OutOfMemoryError:
                images //= 2
            else:
                numbers = {"images": images, "passes": passes, "seconds": seconds, "gib": gib}
                self.found.append(Measurement.model_validate(about | numbers | {"step": step}))
                return
            torch.cuda.empty_cache()
        self.log(f"{step} {about['network']} {about['precision']} does not fit into this GPU")

    def _timed(self, images: int, work: Callable[[int], object]) -> tuple[float, float | None]:
        """Return the median seconds of `work`, and the peak memory in GiB on a GPU."""
        on_gpu = self.device.type == "cuda"

        def synchronised() -> None:
            work(images)
            if on_gpu:
                torch.cuda.synchronize()

        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds = [timed(synchronised) for _ in range(WARM_UP + self.turns)][WARM_UP:]
        return median(seconds), torch.cuda.max_memory_allocated() / GIB if on_gpu else None


def random_base_model(
    name: str, precision: Precision, device: torch.device
) -> tuple[BaseModel, PromptEmbeddings]:
    """Build a base model with random weights, without text encoders, and the embedding of a prompt.

    Args:
        name: `mini`, which is loaded, or a name in NETWORKS_FILE.
        precision: Of its weights.
        device: Where it is built.
    """
    if name == "mini":
        model = BaseModel.load(BaseModelSpec(name="mini"), precision, device)
        return model, model.embed(["a seven"])
    return build_base_model(json.loads(NETWORKS_FILE.read_text()), name, precision, device)


def build_base_model(
    configurations: dict[str, Any], name: str, precision: Precision, device: torch.device
) -> tuple[BaseModel, PromptEmbeddings]:
    """Build the base model `name` of some configurations (see random_base_model)."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    told, dtype = configurations[name], DTYPES[precision]
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(told["unet"]).to(dtype)
        vae_config = configurations["vae"] | {"scaling_factor": told["scaling_factor"], "force_upcast": False}
        vae = AutoencoderKL.from_config(vae_config).to(dtype)
    pipe = SimpleNamespace(unet=unet, vae=vae, text_encoder=nn.Identity(), scheduler=DDIMScheduler())
    model = BaseModel.wrap(pipe, told["resolution"], device)
    text = torch.randn(1, 77, told["text_width"], device=device, dtype=dtype)
    if "pooled_width" not in told:
        return model, PromptEmbeddings(text)
    pooled = torch.randn(1, told["pooled_width"], device=device, dtype=dtype)
    return model, PromptEmbeddings(text, pooled, torch.full((1, 6), 1024.0, device=device))
