"""What the jobs of stages one and two have in common under every setting."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.config import (
    AdapterSpec,
    BaseModelSpec,
    Context,
    DatasetCard,
    DomainsParams,
    Guidance,
    PairParams,
    Suite,
)
from pipeline.core.job import Job
from pipeline.planning.kinds.finetune import AnalogiesParams, FinetuneParams
from pipeline.planning.kinds.generate import GenerateParams
from pipeline.planning.kinds.sampling import InversionSettings

Contents = Literal["adapted", "generated", "base"]


@dataclass(frozen=True)
class AdapterJobs:
    """The jobs of stages one and two for one task and one adapter, or under dg one morphing method.

    Attributes:
        finetune: Stage one.
        made: The sets of images that enter training: `adapted` and `generated`, or under dg `interpolated`.
        times: The t-predictor, under dg.
        flow: The picture of the domain flow, under uda and if the suite asks for it.
    """

    finetune: Job
    made: dict[str, Job]
    times: Job | None = None
    flow: Job | None = None

    @property
    def of_stage_two(self) -> list[Job]:
        """The jobs that make images."""
        return [*self.made.values(), *([self.flow] if self.flow else [])]


@dataclass(frozen=True)
class TaskJobs:
    """The jobs of stages one and two for one task.

    Attributes:
        sources: The source domain; under dg, all domains but the target.
        target: The target domain.
        adapters: The jobs of each adapter, by its name.
    """

    sources: tuple[str, ...]
    target: str
    adapters: dict[str, AdapterJobs]


@dataclass(frozen=True)
class Stages:
    """Builds the jobs of stages one and two of a suite.

    Attributes:
        suite: The suite.
        card: The card of its dataset.
        base_model: Its base model, with the revision that config.resolve_base_model found.
        data: The job that prepares the dataset.
    """

    suite: Suite
    card: DatasetCard
    base_model: BaseModelSpec
    data: Job

    @property
    def words(self) -> list[str]:
        """The words of every class in prompts."""
        return [self.card.word(label) for label in range(len(self.card.classes))]

    def adapter(self, name: str) -> AdapterSpec:
        """Return the adapter of the augmentation `name`, which has one."""
        spec = self.suite.adapter_of(name)
        assert spec is not None, f"augmentation {name} has no adapter"
        return spec

    def sampling(self, guidance: Guidance, *, adapted: bool = False) -> dict[str, Any]:
        """Return the parameters that every job of stage two has; `adapted` source images have a scale."""
        settings = self.suite.generate
        scale = settings.adapted_scale if adapted and settings.adapted_scale else settings.scale
        return {
            "base_model": self.base_model,
            "guidance": guidance,
            "steps": settings.steps,
            "spacing": settings.spacing,
            "steps_offset": settings.steps_offset,
            "negative": settings.negative,
            "batch_size": settings.batch_size,
            "save_size": settings.save_size,
            "image_format": settings.image_format,
            "scale": scale,
            "precision": settings.precision,
            "compile": settings.compile,
            "source_prompt": self.suite.finetune.source_prompt,
            "target_prompt": self.suite.finetune.target_prompt,
            "seed": settings.seed,
            "threads": self.suite.threads,
        }

    def inversion(self, *, inverted: bool) -> InversionSettings:
        """Return how images are inverted; those that start from noise have the neutral values."""
        settings = self.suite.generate
        return InversionSettings(
            depth=settings.inversion_depth if inverted else 1.0,
            refinements=settings.inversion_refinements,
            statistics=settings.inversion_statistics if inverted else "own",
            start=settings.inversion_start if inverted else "clean",
            timestep=settings.inversion_timestep if inverted else "lower",
        )

    def per_class(self, contents: Contents) -> int | None:
        """Return how many images of each class a set has, or None for every source image.

        The control has as many images as the adapters make.
        """
        settings, classes = self.suite.generate, len(self.card.classes)
        adapted = None if settings.adapted is None else -(-settings.adapted // classes)
        if contents != "base":
            return adapted if contents == "adapted" else settings.generated
        if self.suite.setting == "dg":
            named = [self.suite.adapter_of(name) for name in self.suite.augmentations]
            specs = [spec for spec in named if spec is not None] or [self.suite.adapter]
            return max(settings.grid.most(spec.t_dim) for spec in specs) * settings.grid.per_class
        images = sum(map(self.card.train_images, self.card.domains)) // len(self.card.domains)
        each = {"adapted": adapted or -(-images // classes), "generated": settings.generated}
        return sum(each[name] for name in self.suite.mix.sets)

    def generate(
        self,
        contents: Contents,
        pair: PairParams | None,
        inputs: dict[str, Job],
        context: Context = "inversion",
    ) -> Job:
        """Return the job that makes one set of images.

        Args:
            contents: Which set.
            pair: Its domains; None for the control.
            inputs: The adapter and the data, where the set needs them.
            context: How an analogy's image enters, with a LoRWeB.
        """
        guidance: Guidance = getattr(self.suite.generate, f"{contents}_guidance")
        inverted = contents == "adapted" and context == "inversion"
        params = GenerateParams(
            contents=contents,
            pair=pair,
            words=self.words,
            per_class=self.per_class(contents),
            inversion=self.inversion(inverted=inverted),
            keep_aspect=inverted and self.suite.generate.keep_aspect,
            context=context,
            **self.sampling(guidance, adapted=contents == "adapted"),
        )
        what = f"{pair.source}->{pair.target} {contents}" if pair else "base"
        return Job("generate", params, inputs, f"generate {what}")

    def finetune(
        self,
        spec: AdapterSpec,
        label: str,
        inputs: dict[str, Job],
        *,
        pair: PairParams | None = None,
        domains: DomainsParams | None = None,
        analogies: AnalogiesParams | None = None,
    ) -> Job:
        """Return the job that fine-tunes an adapter on one of `pair`, `domains` and `analogies`."""
        params = FinetuneParams(
            pair=pair,
            domains=domains,
            analogies=analogies,
            base_model=self.base_model,
            adapter=spec,
            settings=self.suite.finetune,
            threads=self.suite.threads,
        )
        return Job("finetune", params, inputs, f"finetune {label}")
