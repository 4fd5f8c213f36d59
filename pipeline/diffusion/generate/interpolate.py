"""Stage two under dg: images of every class at the points of a grid of t, in between and beyond the source domains.

The points are those of the grid near the predicted t of the source images (t_predictor/grid.py). The adapter is merged
once for each, and the images of a point are made in batches: from noise, or from source images that were inverted at
the mean t of their own domain.
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
from pipeline.diffusion.generate.stage import choose_balanced, images_named, start_noise, to_png
from pipeline.diffusion.sampling import Levels, adain, classifier_free, guided, invert, sample
from pipeline.diffusion.t_predictor.t_grid import Point, grid_points
from pipeline.diffusion.t_predictor.times import FILE, read_times, t_columns
from pipeline.planning.kinds.interpolate import InterpolateParams


def plan_images(
    params: InterpolateParams, points: Sequence[Point], sources: dict[str, ImageSet]
) -> pd.DataFrame:
    """The manifest: per_class images of every class at each of `points`, point after point.

    Columns file, label, class, seed, t, scale, prompt, source, domain; t is the numbers of a point with a space
    between, scale the factor on the adapter's update, which is the next of grid.scales for the next point. The first image of a class has the same start at every point, so that a picture shows what t alone does; all others
    have starts of their own, so that training sees more of a class. sources: images by domain, if these are started
    from; the domains take turns.
    """
    words, scales = params.domains.words, params.grid.scales
    classes, each = len(words), params.grid.per_class
    labels = np.tile(np.arange(classes), each * len(points))
    point, place = np.divmod(np.arange(len(labels)), classes * each)
    own = np.where(place < classes, place, np.arange(len(labels)) + classes)
    table = pd.DataFrame(
        {
            "file": [f"images/{i:06d}.png" for i in range(len(labels))],
            "label": labels,
            "class": [words[label] for label in labels],
            "seed": [derive(params.seed, "interpolated", int(i)) for i in own],
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
            _at(queues[label], i // classes) for label, i in zip(labels.tolist(), own.tolist(), strict=True)
        ]
        table["domain"], table["source"] = zip(*taken, strict=True)
    return table


def _queues(sources: dict[str, ImageSet], seed: int) -> dict[int, dict[str, list[str]]]:
    """The names of the images of each class, by domain, in an order that is drawn once."""
    queues: dict[int, dict[str, list[str]]] = {}
    for domain, images in sources.items():
        for i in choose_balanced(images, None, seed):
            queues.setdefault(int(images.labels[i]), {}).setdefault(domain, []).append(images.names[i])
    return queues


def _at(queue: dict[str, list[str]], turn: int) -> tuple[str, str]:
    """The domain and the name that stand at `turn`: domains take turns, and each begins again after its last."""
    turns, place = divmod(turn, len(queue))
    domain = list(queue)[place]
    return domain, queue[domain][turns % len(queue[domain])]


class MovingDenoisers:
    """The denoiser with the adapter merged at one t at a time, and as it guides the class."""

    def __init__(self, model: BaseModel, adapter: Path, params: InterpolateParams) -> None:
        share = params.guidance.content_scale
        self._adapters: list[tuple[Adapter, float]] = []

        def adapted(denoiser: nn.Module, scale: float) -> nn.Module:
            self._adapters.append((load_adapter(denoiser, adapter), scale))
            return denoiser

        content = None if share == 1 else adapted(copy.deepcopy(model.denoiser), params.scale * share)
        self.at_t = adapted(model.denoiser, params.scale)
        self.content = self.at_t if content is None else content

    def merge(self, t: Sequence[float], scale: float) -> None:
        """Go to t, the update times `scale`."""
        for adapter, own in self._adapters:
            adapter.set_scale(own * scale)
            adapter.merge(list(t))


class Painter:
    """Makes the images of a manifest's rows. times: times.csv of the t-predictor; sources: as of plan_images."""

    def __init__(
        self, params: InterpolateParams, adapter: Path, times: pd.DataFrame, sources: dict[str, ImageSet]
    ) -> None:
        self.params, self.sources = params, sources
        self.means = times.groupby("domain")[t_columns(times)].mean()
        self.model = BaseModel.load(params.base_model, params.precision)
        self.levels = Levels.make(self.model, params.steps, params.inversion.depth)
        self.prompts = self.model.embed([prompt(params.source_prompt, word) for word in params.domains.words])
        self.empty = self.model.embed([params.target_prompt])
        self.denoisers = MovingDenoisers(self.model, adapter, params)

    def starts(self, rows: pd.DataFrame) -> Tensor:
        """What sampling starts from, latents [n, c, h, w]: noise, or inverted source images of one domain each."""
        noise = start_noise(self.model, rows["seed"].tolist())
        if not self.sources:
            return noise
        latents = torch.empty_like(noise)
        for domain, of_domain in rows.reset_index().groupby("domain"):
            self.denoisers.merge(self.means.loc[domain], 1.0)
            for start in range(0, len(of_domain), self.params.batch_size):
                batch = of_domain.iloc[start : start + self.params.batch_size]
                latents[batch.index] = self._inverted(batch, self.sources[domain])
        return adain(latents, noise) if self.params.inversion.statistics == "noise" else latents

    def _inverted(self, rows: pd.DataFrame, domain: ImageSet) -> Tensor:
        prompted = self.prompts[rows["label"].tolist()]
        predict = classifier_free(self.denoisers.at_t, prompted, self.empty.expand(len(prompted)), 1.0)
        images = self.model.encode(images_named(domain, rows["source"]))
        return invert(self.model, predict, images, self.levels, self.params.inversion.refinements)

    def paint(self, labels: list[int], latents: Tensor) -> np.ndarray:
        """Images uint8 [n, H, W, 3] of classes `labels` at the t where the adapter is merged."""
        prompted, denoisers = self.prompts[labels], self.denoisers
        empty = self.empty.expand(len(prompted))
        predict = guided(self.params.guidance, denoisers.at_t, denoisers.content, prompted, empty)
        return self.model.decode(sample(self.model, predict, latents, self.levels))


def run(params: InterpolateParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv; batches whose images are all there already are not made again.

    inputs: `adapter`, a finetune artifact; `times`, that of the t-predictor whose t it was trained with; and, where
    images start from sources, `data`, a prepare artifact, of which the domain held out is not read.
    """
    with reproducible(params.threads):
        times, sources = read_times(inputs["times"] / FILE), {}
        if params.grid.start == "source":
            sources = {name: load_labelled(inputs["data"], name, "train") for name in params.domains.sources}
        points = grid_points(times[t_columns(times)].to_numpy(), params.grid)
        manifest = plan_images(params, points, sources)
        painter = Painter(params, inputs["adapter"] / "adapter.safetensors", times, sources)
        done = 0
        for t, at_point in manifest.groupby("t", sort=False):
            missing = {file for file in at_point["file"] if not (workspace / file).exists()}
            if missing:
                latents = painter.starts(at_point)
                painter.denoisers.merge([float(number) for number in t.split()], at_point["scale"].iloc[0])
            for start in range(0, len(at_point), params.batch_size):
                rows = at_point.iloc[start : start + params.batch_size]
                if not missing.isdisjoint(rows["file"]):
                    images = painter.paint(rows["label"].tolist(), latents[start : start + len(rows)])
                    for file, image in zip(rows["file"], images, strict=True):
                        write_atomic(workspace / file, to_png(image))
                done += len(rows)
                progress(done, len(manifest), "images")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
