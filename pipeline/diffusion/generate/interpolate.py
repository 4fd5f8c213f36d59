"""Stage two under dg: make images of every class at the points of a grid of t.

The points lie between the source domains and a little beyond: near the predicted t of the source images
(t_predictor/t_grid.py). The adapter is merged once for each point, and a point's images are sampled in
batches: from noise, or from source images that were inverted at the mean t of their own domain.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.diffusion.adapters import Adapter, load_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.images import choose_balanced, images_named, labels_of, to_png
from pipeline.diffusion.sampling import (
    Levels,
    adain,
    classifier_free,
    guided,
    invert,
    negative_embeddings,
    sample,
    start_noise,
)
from pipeline.diffusion.t_predictor.t_grid import Point, grid_points
from pipeline.diffusion.t_predictor.times import FILE, read_times, t_columns
from pipeline.planning.kinds.interpolate import InterpolateParams


def plan_images(
    params: InterpolateParams, points: Sequence[Point], sources: dict[str, ImageSet]
) -> pd.DataFrame:
    """List the images to make: the manifest, with `grid.per_class` images of every class at each point.

    The first image of a class starts from the same noise or source image at every point, so that a figure
    shows what t alone changes. All other images have starts of their own, so that training sees more of a
    class.

    Args:
        params: The job's parameters.
        points: The points of the grid.
        sources: The source images by domain if images start from them; domains take turns. Empty to start
            from noise.

    Returns:
        Columns file, label, class, seed, t, scale, prompt, source, domain. t holds the numbers of a point,
        separated by spaces. scale is the factor on the adapter's update: points take the values of
        grid.scales in turn.
    """
    words, scales = params.domains.words, params.grid.scales
    classes, per_class = len(words), params.grid.per_class
    labels = np.tile(np.arange(classes), per_class * len(points))
    point, index_at_point = np.divmod(np.arange(len(labels)), classes * per_class)
    start = np.where(index_at_point < classes, index_at_point, np.arange(len(labels)) + classes)
    table = pd.DataFrame(
        {
            "file": [f"images/{i:06d}.png" for i in range(len(labels))],
            "label": labels,
            "class": [words[label] for label in labels],
            "seed": [derive(params.seed, "interpolated", int(i)) for i in start],
            "t": [" ".join(f"{number:g}" for number in points[i]) for i in point],
            "scale": [scales[i % len(scales)] for i in point],
            "prompt": [prompt(params.source_prompt, words[label]) for label in labels],
            "source": "",
            "domain": "",
        }
    )
    if sources:
        queues = _queues(sources, params.seed)
        taken = [
            _take(queues[label], i // classes)
            for label, i in zip(labels.tolist(), start.tolist(), strict=True)
        ]
        table["domain"] = [domain for domain, _ in taken]
        table["source"] = [name for _, name in taken]
    return table


def _queues(sources: dict[str, ImageSet], seed: int) -> dict[int, dict[str, list[str]]]:
    """Return the names of the images of each class by domain, in an order that the seed decides."""
    queues: dict[int, dict[str, list[str]]] = {}
    for domain, images in sources.items():
        labels = labels_of(images)
        for i in choose_balanced(images, None, seed):
            queues.setdefault(int(labels[i]), {}).setdefault(domain, []).append(images.names[i])
    return queues


def _take(queue: dict[str, list[str]], turn: int) -> tuple[str, str]:
    """Return the domain and the image's name at `turn`: domains take turns, and each repeats its images."""
    turn_of_domain, domain_index = divmod(turn, len(queue))
    domain = list(queue)[domain_index]
    return domain, queue[domain][turn_of_domain % len(queue[domain])]


class MovingDenoisers:
    """The denoiser with the adapter merged at one t after another, and the one that guides the class.

    Args:
        model: Its denoiser is changed in place.
        adapter: The adapter's file.
        params: The job's parameters.

    Attributes:
        at_t: The denoiser with the whole update.
        content: The denoiser with the share of the update that guides (`Guidance.content_scale`).
    """

    def __init__(self, model: BaseModel, adapter: Path, params: InterpolateParams) -> None:
        share = params.guidance.content_scale
        self._adapters: list[tuple[Adapter, float]] = []

        def with_adapter(denoiser: nn.Module, scale: float) -> nn.Module:
            self._adapters.append((load_adapter(denoiser, adapter), scale))
            return denoiser

        content = None if share == 1 else with_adapter(copy.deepcopy(model.denoiser), params.scale * share)
        self.at_t = with_adapter(model.denoiser, params.scale)
        self.content = self.at_t if content is None else content

    def merge(self, t: Sequence[float], scale: float) -> None:
        """Merge the adapter at t, its update multiplied by `scale`."""
        for adapter, own_scale in self._adapters:
            adapter.set_scale(own_scale * scale)
            adapter.merge(list(t))


class PointSampler:
    """Sample the images of a manifest's rows.

    Args:
        params: The job's parameters.
        adapter: The adapter's file.
        times: times.csv of the t-predictor.
        sources: The source images by domain, as in `plan_images`.
    """

    def __init__(
        self, params: InterpolateParams, adapter: Path, times: pd.DataFrame, sources: dict[str, ImageSet]
    ) -> None:
        self.params, self.sources = params, sources
        self.mean_t = times.groupby("domain")[t_columns(times)].mean()
        self.model = BaseModel.load(params.base_model, params.precision)
        self.levels = Levels.of(self.model, params, params.inversion)
        self.prompts = self.model.embed([prompt(params.source_prompt, word) for word in params.domains.words])
        self.negative = negative_embeddings(self.model, params)
        self.denoisers = MovingDenoisers(self.model, adapter, params)

    def starts(self, rows: pd.DataFrame) -> Tensor:
        """Return the latents [n, c, h, w] that sampling starts from: noise, or inverted source images."""
        noise = start_noise(self.model, rows["seed"].tolist())
        if not self.sources:
            return noise
        latents = torch.empty_like(noise)
        for domain in sorted(set(rows["domain"])):
            (indices,) = np.nonzero(rows["domain"].to_numpy() == domain)
            self.denoisers.merge(self.mean_t.loc[domain].to_list(), 1.0)
            for start in range(0, len(indices), self.params.batch_size):
                batch = indices[start : start + self.params.batch_size]
                latents[torch.from_numpy(batch)] = self._inverted(rows.iloc[batch], self.sources[domain])
        return adain(latents, noise) if self.params.inversion.statistics == "noise" else latents

    def _inverted(self, rows: pd.DataFrame, images: ImageSet) -> Tensor:
        prompts = self.prompts[rows["label"].tolist()]
        predict = classifier_free(self.denoisers.at_t, prompts, prompts, 1.0)
        latents = self.model.encode(images_named(images, rows["source"]))
        inversion = self.params.inversion
        return invert(self.model, predict, latents, self.levels, inversion.refinements, inversion.timestep)

    def sample(self, labels: list[int], latents: Tensor) -> np.ndarray:
        """Sample images of the classes `labels` at the t where the adapter is merged: uint8 [n, H, W, 3]."""
        prompts, denoisers = self.prompts[labels], self.denoisers
        negative = self.negative.expand(len(prompts))
        predict = guided(self.params.guidance, denoisers.at_t, denoisers.content, prompts, negative)
        return self.model.decode(sample(self.model, predict, latents, self.levels))


def run(params: InterpolateParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv; a batch whose images all exist is not made again.

    Args:
        params: The job's parameters.
        inputs: `adapter`, a finetune artifact; `times`, the artifact of the t-predictor that it was trained
            with; and, if images start from sources, `data`, a prepare artifact. The held-out domain is not
            read.
        workspace: Where the images are written.
        progress: Called after each batch.
    """
    with reproducible(params.threads):
        times, sources = read_times(inputs["times"] / FILE), {}
        if params.grid.start == "source":
            sources = {name: load_labelled(inputs["data"], name, "train") for name in params.domains.sources}
        points = grid_points(times[t_columns(times)].to_numpy(), params.grid)
        manifest = plan_images(params, points, sources)
        sampler = PointSampler(params, inputs["adapter"] / "adapter.safetensors", times, sources)
        done = 0
        for t, at_point in manifest.groupby("t", sort=False):
            missing = {file for file in at_point["file"] if not (workspace / file).exists()}
            if missing:
                latents = sampler.starts(at_point)
                numbers = [float(number) for number in str(t).split()]
                sampler.denoisers.merge(numbers, at_point["scale"].iloc[0])
            for start in range(0, len(at_point), params.batch_size):
                rows = at_point.iloc[start : start + params.batch_size]
                if not missing.isdisjoint(rows["file"]):
                    images = sampler.sample(rows["label"].tolist(), latents[start : start + len(rows)])
                    for file, image in zip(rows["file"], images, strict=True):
                        write_atomic(workspace / file, to_png(image))
                done += len(rows)
                progress(done, len(manifest), "images")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
