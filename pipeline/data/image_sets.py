"""A `prepare` artifact: the domains of a dataset as arrays, written once and verified on every load.

A domain D has the files D.images.npy, D.labels.npy, D.split.npy, D.names.npy, and D.json with the sha256 of
each of the four arrays. Each array has its own hash, so that the unlabelled loader verifies what it reads
without opening the labels.

If the images are files, D.images.npy does not exist. D.names.npy then lists their names in the dataset's
folder, and D.json names that dataset and the hash of its inventory (see pipeline.data.sources.inventory).
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.config import IN_PLACE, FolderCard, data_folder, nearest
from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.data.open_image import dataset_path

Split = Literal["train", "test"]

SPLITS: dict[Split, int] = {"train": 0, "test": 1}
BOTH = 2
"""The value in an array `split` of an image that belongs to both splits."""

ARRAYS = ("images", "labels", "split", "names")
"""The arrays of a domain, in the order in which they enter its hash."""

FILE_DOMAIN_FIELDS = {"labels", "split", "names", "dataset", "content"}
"""The fields of D.json if the images are files; `orientation` is one more where it is not `stored`."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one size, labelled or unlabelled.

    Attributes:
        images: uint8 [N, H, W, 3].
        labels: int64 [N], or None if the set is unlabelled.
        names: N unique names.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Sequence[int] | np.ndarray) -> "ImageSet":
        """Return the set of the images at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        labels = None if self.labels is None else self.labels[chosen]
        return type(self)(self.images[chosen], labels, [self.names[i] for i in chosen])


@dataclass(frozen=True)
class ImageFiles(ImageSet):
    """An image set whose images stay in files until a batch reads them.

    Attributes:
        images: object [N], the paths (str) of files in any format and size.
    """


@dataclass(frozen=True)
class DomainArrays:
    """A whole domain.

    Attributes:
        images: uint8 [N, H, W, 3].
        labels: int64 [N].
        split: uint8 [N], 0 train, 1 test.
        names: N unique str.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    names: np.ndarray

    def digests(self) -> dict[str, str]:
        """Return the sha256 of each array by its name."""
        return {name: digest(getattr(self, name)) for name in ARRAYS}

    def count(self, split: Split) -> int:
        """Count the images of `split`."""
        return int((self.split == SPLITS[split]).sum())


def digest(array: np.ndarray) -> str:
    """Hash an array's dtype, shape and values with sha256, independently of numpy's file format."""
    header = f"{array.dtype.str} {array.shape}\n".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def domain_sha256(digests: Mapping[str, str]) -> str:
    """Hash the digests of a domain's arrays into the one sha256 that a dataset card states."""
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in ARRAYS).encode()).hexdigest()


def save_domain(folder: Path, domain: str, arrays: DomainArrays) -> None:
    """Write `arrays` as the domain `domain` of the artifact in `folder`."""
    for name in ARRAYS:
        _save_array(folder, domain, name, getattr(arrays, name))
    write_atomic(folder / f"{domain}.json", json.dumps(arrays.digests(), indent=1) + "\n")


def save_files(folder: Path, domain: str, card: FolderCard, listed: Mapping[str, np.ndarray]) -> None:
    """Write a domain whose images are the imported files of `card`.

    Args:
        folder: The artifact's folder.
        domain: The domain's short form.
        card: The resolved card, whose `content` identifies the imported files.
        listed: The arrays `labels`, int64 [N], `split`, uint8 [N], and `names`, str [N]: paths below the
            dataset's folder of that domain.
    """
    for name, array in listed.items():
        _save_array(folder, domain, name, array)
    description = {name: digest(array) for name, array in listed.items()}
    description |= {"dataset": card.name, "content": str(card.content)}
    if card.orientation != "stored":
        description["orientation"] = card.orientation
    write_atomic(folder / f"{domain}.json", json.dumps(description, indent=1) + "\n")


def _save_array(folder: Path, domain: str, name: str, array: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    write_atomic(folder / f"{domain}.{name}.npy", file.getvalue())


def load_labelled(artifact: Path, domain: str, split: Split) -> ImageSet:
    """Load the images of one split with their labels.

    Raises:
        UserError: There is no domain `domain`, or one of its files is not as it was written.
    """
    return _load(artifact, domain, split, labelled=True)


def load_unlabelled(artifact: Path, domain: str, split: Split) -> ImageSet:
    """Load the images of one split without opening the file that holds their labels.

    Raises:
        UserError: There is no domain `domain`, or one of its files is not as it was written.
    """
    return _load(artifact, domain, split, labelled=False)


def load_whole(artifact: Path, domain: str, labelled: bool = True) -> ImageSet:
    """Load all images of a domain: training images first, then those for testing only.

    Without `labelled`, the file that holds their labels is not opened.

    Raises:
        UserError: There is no domain `domain`, or one of its files is not as it was written.
    """
    return _load(artifact, domain, None, labelled)


def _load(artifact: Path, domain: str, split: Split | None, labelled: bool) -> ImageSet:
    """Load one split, or the whole domain if `split` is None."""
    description = _read_description(artifact, domain)
    wanted = [name for name in ARRAYS if name in description and (labelled or name != "labels")]
    arrays = {name: _load_array(artifact, domain, name, description[name]) for name in wanted}
    if split is None:
        chosen = np.argsort(arrays["split"] == SPLITS["test"], kind="stable")
    else:
        (chosen,) = np.nonzero(np.isin(arrays["split"], [SPLITS[split], BOTH]))
    labels = arrays["labels"][chosen] if labelled else None
    names = arrays["names"][chosen].tolist()
    if "images" in arrays:
        return ImageSet(arrays["images"][chosen], labels, names)
    folder = _image_folder(artifact, domain, description)
    upright = description.get("orientation") == "upright"
    paths = [dataset_path(f"{folder}/{name}", "upright" if upright else "stored") for name in names]
    return ImageFiles(np.array(paths, dtype=object), labels, names)


def _image_folder(artifact: Path, domain: str, description: Mapping[str, str]) -> Path:
    """Return the folder of a domain's image files. UserError if they are not the files that were prepared."""
    dataset = description["dataset"]
    place = data_folder(dataset)
    try:
        content = json.loads((place / IN_PLACE).read_text(encoding="utf-8"))["content"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise UserError(
            f"domain {domain}: the images of {dataset} are not in {place}; set $TERRABENCH_DATA to the "
            f"folder that contains {dataset}/, or import it again"
        ) from error
    if content != description["content"]:
        raise UserError(
            f"domain {domain}: the images in {place} differ from those that {artifact} was prepared from; "
            "run the suite again, or import the earlier images"
        )
    return place / "images" / domain


def _read_description(artifact: Path, domain: str) -> dict[str, str]:
    """Read D.json: the digests of the arrays and, for files, the dataset and the hash of its inventory."""
    path = artifact / f"{domain}.json"
    if not path.exists():
        known = sorted(file.name.removesuffix(".split.npy") for file in artifact.glob("*.split.npy"))
        if domain in known:
            raise _damaged(artifact, domain, path, "is missing")
        raise UserError(f"there is no domain {domain!r} in {artifact}; {nearest(domain, known)}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(artifact, domain, path, f"cannot be read ({error})") from error
    if not isinstance(description, dict) or set(description) - {"orientation"} not in (
        set(ARRAYS),
        FILE_DOMAIN_FIELDS,
    ):
        raise _damaged(artifact, domain, path, f"does not contain the hashes of {', '.join(ARRAYS)}")
    return description


def _load_array(artifact: Path, domain: str, name: str, expected: str) -> np.ndarray:
    """Load one array of `domain` and verify that its digest is `expected`."""
    path = artifact / f"{domain}.{name}.npy"
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(artifact, domain, path, f"cannot be read ({error})") from error
    found = digest(array)
    if found != expected:
        problem = f"was changed (expected sha256 {expected[:16]}…, found {found[:16]}…)"
        raise _damaged(artifact, domain, path, problem)
    return array


def _damaged(artifact: Path, domain: str, path: Path, problem: str) -> UserError:
    return UserError(
        f"domain {domain}: {path.name} {problem}; delete {artifact}, and the next run makes it again"
    )
