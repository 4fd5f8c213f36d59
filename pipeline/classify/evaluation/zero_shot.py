"""The stage `zero_shot`: CLIP classifies the target's test images by the words of the classes."""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pipeline.classify.clip import load_clip
from pipeline.classify.evaluation.selection import (
    Evaluation,
    TargetLabels,
    predictions_file,
    records_file,
    target_predictions,
)
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_files import read_rgb
from pipeline.data.image_sets import ImageFiles, ImageSet, load_unlabelled
from pipeline.planning.kinds.zero_shot import ZeroShotParams

BATCH = 64
"""The number of images in a forward pass."""


def run(params: ZeroShotParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Classify the target's test images, and write records.json and predictions.npz.

    There is one evaluation, which every selection rule chooses. Labels are read when it is done.

    Args:
        params: The parameters of the job.
        inputs: `data`, a prepare artifact.
        workspace: The folder to write to.
        progress: Called after each batch.
    """
    import transformers

    with reproducible(params.threads):
        images = load_unlabelled(inputs["data"], params.target, "test")
        probabilities = _probabilities(params, images, progress)
        evaluation = Evaluation(0, math.nan, probabilities)
        target = TargetLabels.of_split(inputs["data"], params.target)
        labels, predictions = target_predictions(target, params.selections, [evaluation])
    library, classes = f"transformers {transformers.__version__}", len(params.classes)
    records = records_file(params.identity(), labels, predictions, classes, library)
    write_atomic(workspace / "records.json", records)
    write_atomic(workspace / "predictions.npz", predictions_file(labels, predictions))


def _probabilities(params: ZeroShotParams, images: ImageSet, progress: Progress) -> Tensor:
    """The probabilities of classes, float32 [n, classes], in the CPU's memory."""
    clip = load_clip(params.settings)
    classes = clip.embed_classes(params.settings.prompt, params.words)
    read = read_rgb if isinstance(images, ImageFiles) else Image.fromarray
    parts = []
    for start in range(0, len(images), BATCH):
        batch = [read(image) for image in images.images[start : start + BATCH]]
        parts.append(clip.logits(batch, classes).float().softmax(dim=1).cpu())
        progress(min(start + BATCH, len(images)), len(images), "classified")
    return torch.cat(parts)
