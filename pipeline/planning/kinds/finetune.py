"""Job `finetune`: stage one, an adapter fine-tuned on a base model."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import (
    AdapterSpec,
    BaseModelSpec,
    Count,
    DomainsParams,
    FinetuneSettings,
    PairParams,
    Strict,
    keyed_unless_default,
)
from pipeline.core.job import Job, JobKind, Reduction, Workload, register
from pipeline.planning.kinds.prepare import card_of
from pipeline.planning.network_sizes import (
    FROZEN_TRAINING_PASSES,
    GIB,
    GRID_PASSES,
    WHOLE_BASE_MODEL,
    denoiser,
    denoiser_name,
)

KEPT_BY_CHECKPOINTING = 1 / 12
"""The share of activations that gradient checkpointing keeps, counted on SDXL and SD 1.5."""


class AnalogiesParams(Strict):
    """What a LoRWeB learns from: the ordered pairs of domains of its analogies."""

    pairs: list[PairParams] = Field(min_length=1, description="ordered pairs of domains")


class FinetuneParams(Strict):
    """One adapter for one ordered pair (uda), several of them (uda, LoRWeB) or several source domains (dg).

    One of `pair`, `domains` and `analogies` is given; the others are None.
    """

    pair: PairParams | None = Field(description="the ordered pair of domains, under uda")
    domains: DomainsParams | None = keyed_unless_default(None, "the source domains, under dg")
    analogies: AnalogiesParams | None = keyed_unless_default(None, "the analogies of a LoRWeB")
    base_model: BaseModelSpec = Field(description="the pretrained diffusion model")
    adapter: AdapterSpec = Field(description="the adapter")
    settings: FinetuneSettings = Field(description="how it is fine-tuned")
    threads: Count = Field(description="CPU threads of each process")


@register
class Finetune(JobKind[FinetuneParams]):
    """Fine-tunes an adapter, by one or several processes."""

    name = "finetune"
    params = FinetuneParams
    code_version = 1
    module = "pipeline.diffusion.finetune.stage"

    def images_per_step(self, params: FinetuneParams) -> int:
        """Images in a step: of the source and of the target, or of every domain; a grid is four images."""
        if params.settings.pooled:
            return params.settings.batch_size
        grid = params.adapter.context == "grid"
        domains = 2 if params.domains is None else len(params.domains.sources)
        return (GRID_PASSES if grid else 1) * domains * params.settings.batch_size

    def work(self, params: FinetuneParams, images: int) -> float:
        """Count the passes of all steps, and the encoding of images that are encoded whenever they are drawn.

        Gradient checkpointing adds a forward pass to each step.
        """
        settings, side, network = params.settings, params.base_model.resolution, denoiser(params.base_model)
        passes = FROZEN_TRAINING_PASSES + settings.gradient_checkpointing
        encoded = network.encoding_at(side) if settings.encoding == "fresh" else 0.0
        return settings.steps * self.images_per_step(params) * (passes * network.pass_at(side) + encoded)

    def rate_group(self, params: FinetuneParams) -> str:
        """Compare fine-tunings of one base model at one resolution on as many threads."""
        return " ".join(map(str, [params.base_model.name, params.threads, *self.workload(params)]))

    def workload(self, params: FinetuneParams) -> Workload:
        """Name the base model and how its passes are computed."""
        spec, settings = params.base_model, params.settings
        return Workload(
            "finetune",
            denoiser_name(spec),
            spec.resolution,
            settings.precision,
            settings.compile,
            settings.gradient_checkpointing,
        )

    def half_precision(self, params: FinetuneParams) -> bool:
        """Tell whether the frozen model and the passes are in half precision."""
        return params.settings.precision != "fp32"

    def processes(self, params: FinetuneParams) -> int:
        """Return how many processes share a batch."""
        return params.settings.processes

    def gpu_gib(self, params: FinetuneParams) -> float:
        """Add up the frozen model, the adapter with its gradients and moments, and activations."""
        network, settings = denoiser(params.base_model), params.settings
        moments = 2 if settings.optimizer == "adamw8bit" else 8
        per_learned_number = 8 + moments + (0 if settings.ema is None else 4)
        at_once = self.images_per_step(params) / settings.processes / settings.gradient_accumulation
        kept = KEPT_BY_CHECKPOINTING if settings.gradient_checkpointing else 1.0
        activations = kept * at_once * network.activations_at(params.base_model.resolution)
        half = 2 if self.half_precision(params) else 1
        frozen = 4 * WHOLE_BASE_MODEL * network.parameters
        adapter = per_learned_number * network.per_rank * params.adapter.width
        return (frozen / half + adapter + activations / half) / GIB

    def disk(self, params: FinetuneParams, inputs: Mapping[str, Job]) -> float:
        """Count the adapter's weights in fp32."""
        return 4 * denoiser(params.base_model).per_rank * params.adapter.width

    def scratch(self, params: FinetuneParams, inputs: Mapping[str, Job]) -> float:
        """Count the latents of the images: four channels in fp32, at an eighth of the resolution."""
        if params.base_model.name == "mini" or params.settings.encoding == "fresh":
            return 0.0
        images = sum(map(card_of(inputs).train_images, _encoded_domains(params)))
        return 16.0 * (params.base_model.resolution / 8) ** 2 * images

    def reductions(self, params: FinetuneParams) -> list[Reduction]:
        """Trade time for memory first, then precision, then quality."""
        settings = params.settings
        return [
            Reduction("finetune.gradient_checkpointing", settings.gradient_checkpointing, True),
            Reduction(
                "finetune.gradient_accumulation",
                settings.gradient_accumulation,
                settings.batch_size // settings.processes,
            ),
            Reduction("finetune.precision", settings.precision, "bf16"),
            Reduction("finetune.optimizer", settings.optimizer, "adamw8bit"),
            Reduction("finetune.batch_size", settings.batch_size),
            Reduction("adapter.rank", params.adapter.rank),
            Reduction("base_model.resolution", params.base_model.resolution),
        ]


def _encoded_domains(params: FinetuneParams) -> list[str]:
    """Return the domains whose images are encoded: twice, if one is both a source and a target."""
    if params.domains is not None:
        return params.domains.sources
    pairs = params.analogies.pairs if params.analogies is not None else [params.pair] if params.pair else []
    return [*{pair.source for pair in pairs}, *{pair.target for pair in pairs}]
