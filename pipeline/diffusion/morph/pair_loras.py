"""Stage one under dg, for morphs: learn two LoRAs for each pair of images, which both methods share."""

from pathlib import Path

import numpy as np

from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import EndpointData
from pipeline.diffusion.morph.lora_interp import LoraInterpolation
from pipeline.diffusion.morph.pairs import choose_pairs, endpoints_of, iterate_pairs
from pipeline.diffusion.morph.sampling import tune, with_adapter
from pipeline.planning.kinds.pair_loras import PairLorasParams


def pair_file(index: int) -> str:
    """Return the file of a pair's two LoRAs, from the pair's row in pairs.csv."""
    return f"loras/{index:06d}.safetensors"


def source_images(params: PairLorasParams, data: Path) -> dict[str, ImageSet]:
    """Load the training images of the source domains."""
    return {name: load_labelled(data, name, "train") for name in params.domains.sources}


def run(params: PairLorasParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make pairs.csv, loras/*.safetensors and losses.csv.

    The columns of pairs.csv are those of `choose_pairs`. losses.csv has step, loss, x_loss and y_loss, means
    over the pairs. A pair that is finished is not learned again: its losses are kept in the scratch until the
    job ends.

    Args:
        params: The job's parameters.
        inputs: `data`, a prepare artifact. The held-out domain is not read.
        workspace: Where the files are written.
        progress: Called after each pair.
    """
    with reproducible(params.threads):
        sources = source_images(params, inputs["data"])
        pairs = choose_pairs(sources, len(params.domains.words), params.pairs, params.morph.seed)
        model = BaseModel.load(params.base_model)
        morph = LoraInterpolation(params.morph)
        logs = []
        for index, pair in enumerate(iterate_pairs(pairs)):
            log = workspace / "scratch" / f"{index:06d}.csv"
            if not log.exists():
                own, adapter = with_adapter(model, morph)
                assert adapter is not None, "LoRA interpolation learns an adapter"
                endpoints = endpoints_of(pair, sources, params.domains, params.prompt)
                losses = tune(own, adapter, EndpointData(own, params.morph, endpoints))
                adapter.save(workspace / pair_file(index))
                write_atomic(log, "".join(",".join(map(repr, row)) + "\n" for row in losses))
            logs.append(np.loadtxt(log, delimiter=",", ndmin=2))
            progress(index + 1, len(pairs), f"pairs, loss {logs[-1][:, 0].mean():.3f}")
        mean = np.mean(logs, axis=0)
        rows = [f"{step}," + ",".join(f"{value:.6g}" for value in row) for step, row in enumerate(mean)]
        write_atomic(workspace / "pairs.csv", pairs.to_csv(index=False))
        write_atomic(workspace / "losses.csv", "\n".join(["step,loss,x_loss,y_loss", *rows]) + "\n")
