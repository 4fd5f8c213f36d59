"""Stage one under dg, for morphs: two LoRAs for each pair of images, which both ways of morphing then share."""

from pathlib import Path

import numpy as np

from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import EndsData
from pipeline.diffusion.morph.lora_interp import LoraInterpolation
from pipeline.diffusion.morph.pairs import choose_pairs, ends_of
from pipeline.diffusion.morph.sampling import adapted, tune
from pipeline.planning.kinds.pair_loras import PairLorasParams


def pair_file(place: int) -> str:
    """The two LoRAs of a pair, by its place in pairs.csv."""
    return f"loras/{place:06d}.safetensors"


def silent(done: int, total: int, what: str) -> None:
    """The progress of one pair of many, which nobody follows."""


def source_images(params: PairLorasParams, data: Path) -> dict[str, ImageSet]:
    """The training images of the source domains."""
    return {name: load_labelled(data, name, "train") for name in params.domains.sources}


def run(params: PairLorasParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make pairs.csv (see choose_pairs), loras/*.safetensors and losses.csv (step, loss, x_loss, y_loss: means over pairs).

    inputs: `data`, a prepare artifact, of which the domain held out is not read. Pairs that are done are not tuned
    again; the log of each is kept beside it until the end.
    """
    with reproducible(params.threads):
        sources = source_images(params, inputs["data"])
        pairs = choose_pairs(sources, len(params.domains.words), params.pairs, params.morph.seed)
        model = BaseModel.load(params.base_model)
        morph = LoraInterpolation(params.morph)
        logs = []
        for place, pair in enumerate(pairs.itertuples()):
            log = workspace / "scratch" / f"{place:06d}.csv"
            if not log.exists():
                own, adapter = adapted(model, morph)
                data = EndsData(own, params.morph, ends_of(pair, sources, params.domains, params.prompt))
                losses = tune(own, adapter, data, silent)
                adapter.save(workspace / pair_file(place))
                write_atomic(log, "".join(",".join(map(repr, row)) + "\n" for row in losses))
            logs.append(np.loadtxt(log, delimiter=",", ndmin=2))
            progress(place + 1, len(pairs), f"pairs, loss {logs[-1][:, 0].mean():.3f}")
        mean = np.mean(logs, axis=0)
        rows = [f"{step}," + ",".join(f"{value:.6g}" for value in row) for step, row in enumerate(mean)]
        write_atomic(workspace / "pairs.csv", pairs.to_csv(index=False))
        write_atomic(workspace / "losses.csv", "\n".join(["step,loss,x_loss,y_loss", *rows]) + "\n")
