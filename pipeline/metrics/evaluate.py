"""Score sequences of frames by method: how smooth they are and how near to reference images."""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from pipeline.data.image_files import as_rgb
from pipeline.data.open_image import UprightPath, open_image
from pipeline.metrics.definitions import fid, full_rank, kid, smoothness
from pipeline.metrics.distances import Distances, make_distances
from pipeline.metrics.features import Features, make_features
from pipeline.metrics.frames import Sequence, read_sequences, reference_files
from pipeline.metrics.networks import BATCH_SIZE

COLUMNS = ["method", "sequences", "frames", "PPL", "PPL variation", "FID", "KID"]

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Scores:
    """The scores of methods.

    Attributes:
        table: A row for each method, with COLUMNS; FID and KID are NaN where they are not known.
        notes: Sentences that say why a score is missing, or does not compare.
    """

    table: pd.DataFrame
    notes: list[str]


class Reference:
    """The images with which FID and KID compare frames.

    Images of another size than the frames are read as base models read them: the middle part with the frames'
    proportions, resized to the frames' size.

    Args:
        images: Pixels, uint8 [m, H, W, 3], or paths of image files, object [m].
        features: Computes their features.
        upright: Whether to apply the EXIF orientation of files. The images of datasets are read as their card
            says.

    Attributes:
        resized: How many images had another size, by the frames' size.
    """

    def __init__(self, images: np.ndarray, features: Features, *, upright: bool = True) -> None:
        self.images, self.features, self.upright = images, features, upright
        self.resized: dict[Size, int] = {}
        self._computed: dict[Size, np.ndarray] = {}

    def at(self, size: Size) -> np.ndarray:
        """Compute the features of all images at the frames' size, float64 [m, d]; once for each size."""
        if size not in self._computed:
            starts = range(0, len(self.images), BATCH_SIZE)
            batches = (self._read(self.images[start : start + BATCH_SIZE], size) for start in starts)
            self._computed[size] = np.concatenate([self.features(batch) for batch in batches])
        return self._computed[size]

    def _read(self, images: np.ndarray, size: Size) -> np.ndarray:
        """Return some images at `size`, uint8 [n, H, W, 3]."""
        read = []
        for image in images:
            if isinstance(image, str):
                upright = self.upright or isinstance(image, UprightPath)
                picture = as_rgb(open_image(Path(image), upright=upright))
            else:
                picture = Image.fromarray(image)
            if picture.size != size:
                self.resized[size] = self.resized.get(size, 0) + 1
                picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
            read.append(np.asarray(picture))
        return np.stack(read)


def score(sequences: Many[Sequence], distances: Distances, reference: Reference | None = None) -> Scores:
    """Score each method.

    PPL and its variation are means over the method's sequences; FID and KID compare all its frames together.
    Where there are not more images than features, a covariance cannot have full rank. FID is then left out,
    which a note says, and KID stands for it.

    Args:
        sequences: The sequences of all methods.
        distances: The distances of PPL.
        reference: The images of FID and KID; None leaves these out.
    """
    rows, notes = [], _size_notes(sequences)
    for method in dict.fromkeys(one.method for one in sequences):
        own = [one.frames for one in sequences if one.method == method]
        paths = [smoothness(distances(frames)) for frames in own]
        row = [
            method,
            len(own),
            sum(map(len, own)),
            np.mean([path.ppl for path in paths]),
            np.mean([path.variation for path in paths]),
        ]
        nearness, note = [np.nan, np.nan], None
        if reference is not None:
            nearness, note = _nearness(own, reference)
        rows.append([*row, *nearness])
        notes += [f"{method}: {note}"] if note else []
    if reference is not None:
        notes += _resize_notes(reference)
    return Scores(pd.DataFrame(rows, columns=COLUMNS), notes)


def evaluate_folders(
    folders: Many[Path],
    distance: str = "alex",
    reference: Path | None = None,
    features: str = "inception",
) -> Scores:
    """Score the sequences of frames in folders, as the command `metrics` does.

    Args:
        folders: Folders of frames, or folders that hold folders of frames.
        distance: The network of PPL (see networks.py), or `pixels`.
        reference: A folder of images, or of class folders with images, for FID and KID; None leaves these
            out.
        features: The network of FID and KID.

    Raises:
        UserError: A folder or a network is missing, or an image cannot be read.
    """
    sequences = [one for folder in folders for one in read_sequences(folder)]
    images = None
    if reference is not None:
        paths = [str(path) for path in reference_files(reference)]
        images = Reference(np.array(paths, dtype=object), make_features(features))
    return score(sequences, make_distances(distance), images)


def _nearness(sequences: Many[np.ndarray], reference: Reference) -> tuple[list[float], str | None]:
    """Compute FID and KID of all frames of a method; the note says why FID is left out."""
    if len({_size(frames) for frames in sequences}) > 1:
        return [np.nan, np.nan], "no FID and no KID, because its frames differ in size"
    known = reference.at(_size(sequences[0]))
    made = reference.features(np.concatenate(sequences))
    fewest, count = min(len(made), len(known)), made.shape[1]
    if full_rank(fewest, count):
        return [fid(made, known), kid(made, known)], None
    return [np.nan, kid(made, known)], (
        f"no FID, because the covariance of {count} features needs more than {count} images, and there are "
        f"{len(made)} frames and {len(known)} reference images; KID needs no covariance"
    )


def _size(frames: np.ndarray) -> Size:
    return frames.shape[2], frames.shape[1]


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _size_notes(sequences: Many[Sequence]) -> list[str]:
    """Say that PPL and FID do not compare if sequences differ in size."""
    sizes: dict[Size, list[str]] = {}
    for one in sequences:
        methods = sizes.setdefault(_size(one.frames), [])
        if one.method not in methods:
            methods.append(one.method)
    if len(sizes) < 2:
        return []
    listed = ", ".join(f"{_text(size)} ({', '.join(methods)})" for size, methods in sizes.items())
    return [f"frames differ in size, and scores of frames of different sizes do not compare: {listed}"]


def _resize_notes(reference: Reference) -> list[str]:
    """Say how many reference images were resized to the frames' size."""
    return [
        f"{count} of {len(reference.images)} reference images are not {_text(size)}, the size of the frames: "
        "their middle part is used, resized to that size"
        for size, count in reference.resized.items()
    ]
