"""Stage two under dg: make images of every class at the points of a grid of t.

The points lie between the source domains and a little beyond: near the predicted t of the source images
(t_predictor/t_grid.py). The adapter is merged once for each point, and a point's images are sampled in
batches: from noise, or from source images that were inverted at the mean t of their own domain.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.batches import Batches
from pipeline.diffusion.generate.image_writer import ImageWriter
from pipeline.diffusion.generate.images import choose_balanced, images_named, labels_of
from pipeline.diffusion.generate.merged_denoisers import SharedDenoiser
from pipeline.diffusion.prompt_embeddings import Denoiser
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
            "file": [params.file(i) for i in range(len(labels))],
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
        self._shared = SharedDenoiser(model, adapter)
        self._scale, self._share = params.scale, params.guidance.content_scale
        self.at_t: Denoiser = model.denoiser
        self.content: Denoiser = model.denoiser

    def merge(self, t: Sequence[float], scale: float) -> None:
        """Take the denoisers at t, with the adapter's update multiplied by `scale`."""
        self.at_t = self.content = self._shared.merged_at(list(t), self._scale * scale)
        if self._share != 1:
            self.content = self._shared.merged_at(list(t), self._scale * self._share * scale)


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
        if params.compile:
            self.model.compile("generate.compile")
        self.batches = Batches(params.batch_size, self.model)

    def starts(self, rows: pd.DataFrame) -> Tensor:
        """Return the latents [n, c, h, w] that sampling starts from: noise, or inverted source images."""
        noise = start_noise(self.model, rows["seed"].tolist())
        if not self.sources:
            return noise
        latents = torch.empty_like(noise)
        for domain in sorted(set(rows["domain"])):
            (indices,) = np.nonzero(rows["domain"].to_numpy() == domain)
            own, images = rows.iloc[indices], self.sources[domain]
            self.denoisers.merge(self.mean_t.loc[domain].to_list(), 1.0)
            for part, inverted in self.batches.run(len(own), partial(self._inverted, own, images)):
                latents[torch.from_numpy(indices[part])] = inverted
        return adain(latents, noise) if self.params.inversion.statistics == "noise" else latents

    def images_at(self, rows: pd.DataFrame, workspace: Path) -> Iterator[tuple[list[str], np.ndarray | None]]:
        """Yield the files of each batch of the rows of one point, and their images; None if all exist."""
        missing = {file for file in rows["file"] if not (workspace / file).exists()}
        files, labels = rows["file"].tolist(), rows["label"].tolist()
        if missing:
            latents = self.starts(rows)
            t = [float(number) for number in str(rows["t"].iloc[0]).split()]
            self.denoisers.merge(t, rows["scale"].iloc[0])

        def make(part: slice) -> np.ndarray | None:
            return None if missing.isdisjoint(files[part]) else self.sample(labels[part], latents[part])

        for part, images in self.batches.run(len(rows), make):
            yield files[part], images

    def _inverted(self, table: pd.DataFrame, images: ImageSet, part: slice) -> Tensor:
        rows = table.iloc[part]
        prompts = self.prompts[rows["label"].tolist()]
        predict = classifier_free(self.denoisers.at_t, prompts, prompts, 1.0)
        latents = self.model.encode(images_named(images, rows["source"]))
        inversion = self.params.inversion
        return invert(self.model, predict, latents, self.levels, inversion.refinements, inversion.timestep)

    def sample(self, labels: list[int], latents: Tensor) -> np.ndarray:
        """Sample images of the classes `labels` at the t of the denoisers: uint8 [n, H, W, 3]."""
        prompts, denoisers = self.prompts[labels], self.denoisers
        negative = self.negative.expand(len(prompts))
        predict = guided(self.params.guidance, denoisers.at_t, denoisers.content, prompts, negative)
        return self.model.decode(sample(self.model, predict, latents, self.levels))


def run(params: InterpolateParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/* and manifest.csv; a batch whose images all exist is not made again.

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
        with ImageWriter(workspace, params) as writer:
            for _, at_point in manifest.groupby("t", sort=False):
                for files, images in sampler.images_at(at_point, workspace):
                    if images is not None:
                        writer.write(files, images)
                    done += len(files)
                    progress(done, len(manifest), "images")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
