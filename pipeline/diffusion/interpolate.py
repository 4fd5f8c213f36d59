"""Stage two under dg: images of every class at the points of a grid of t, in between and beyond the source domains.

The points are those of the grid near the predicted t of the source images (t_predictor/grid.py). The adapter is merged
once for each, and the images of a point are made from noise in batches.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from pipeline.config import InterpolateParams, prompt
from pipeline.determinism import reproducible
from pipeline.diffusion.adapters import Adapter, load_adapter
from pipeline.diffusion.base import BaseModel
from pipeline.diffusion.generate import start_noise, to_png
from pipeline.diffusion.sampling import Levels, guided, sample
from pipeline.diffusion.t_predictor.grid import Point, grid_points
from pipeline.diffusion.t_predictor.times import FILE, read_times, t_columns
from pipeline.seeds import derive
from pipeline.stage import Progress
from pipeline.store import write_atomic


def plan_images(params: InterpolateParams, points: Sequence[Point]) -> pd.DataFrame:
    """The manifest: per_class images of every class at each of `points`, point after point.

    Columns file, label, class, seed, t, prompt, source; t is the numbers of a point with a space between. The first
    image of a class starts from the same noise at every point, so that a picture shows what t alone does; all others
    start from noise of their own, so that training sees more of a class.
    """
    classes, each = len(params.words), params.grid.per_class
    labels = np.tile(np.arange(classes), each * len(points))
    point, place = np.divmod(np.arange(len(labels)), classes * each)
    own = np.where(place < classes, place, np.arange(len(labels)) + classes)
    return pd.DataFrame(
        {
            "file": [f"images/{i:06d}.png" for i in range(len(labels))],
            "label": labels,
            "class": [params.words[label] for label in labels],
            "seed": [derive(params.seed, "interpolated", int(i)) for i in own],
            "t": [" ".join(f"{number:g}" for number in points[i]) for i in point],
            "prompt": [prompt(params.source_prompt, params.words[label]) for label in labels],
            "source": "",
        }
    )


class MovingDenoisers:
    """The denoiser with the adapter merged at one t at a time, and as it guides the class."""

    def __init__(self, model: BaseModel, adapter: Path, params: InterpolateParams) -> None:
        share = params.guidance.content_scale
        self._adapters: list[Adapter] = []

        def adapted(denoiser: nn.Module, scale: float) -> nn.Module:
            loaded = load_adapter(denoiser, adapter)
            loaded.set_scale(scale)
            self._adapters.append(loaded)
            return denoiser

        content = None if share == 1 else adapted(copy.deepcopy(model.denoiser), params.scale * share)
        self.at_t = adapted(model.denoiser, params.scale)
        self.content = self.at_t if content is None else content

    def merge(self, t: list[float]) -> None:
        """Go to t."""
        for adapter in self._adapters:
            adapter.merge(t)


def run(params: InterpolateParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv; batches whose images are all there already are not made again.

    inputs: `adapter`, a finetune artifact, and `times`, that of the t-predictor whose t it was trained with.
    """
    with reproducible(params.threads):
        times = read_times(inputs["times"] / FILE)
        points = grid_points(times[t_columns(times)].to_numpy(), params.grid)
        manifest = plan_images(params, points)
        model = BaseModel.load(params.base_model)
        levels = Levels.make(model, params.steps)
        prompts = model.embed([prompt(params.source_prompt, word) for word in params.words])
        empty = model.embed([params.target_prompt])
        denoisers = MovingDenoisers(model, inputs["adapter"] / "adapter.safetensors", params)
        done = 0
        for t, at_point in manifest.groupby("t", sort=False):
            missing = [file for file in at_point["file"] if not (workspace / file).exists()]
            if missing:
                denoisers.merge([float(number) for number in t.split()])
            for start in range(0, len(at_point), params.batch_size):
                rows = at_point.iloc[start : start + params.batch_size]
                if not set(missing).isdisjoint(rows["file"]):
                    prompted = prompts[rows["label"].tolist()]
                    predict = guided(
                        params.guidance,
                        denoisers.at_t,
                        denoisers.content,
                        prompted,
                        empty.expand_as(prompted),
                    )
                    latents = sample(model, predict, start_noise(model, rows["seed"].tolist()), levels)
                    for file, image in zip(rows["file"], model.decode(latents), strict=True):
                        write_atomic(workspace / file, to_png(image))
                done += len(rows)
                progress(done, len(manifest), "images")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
