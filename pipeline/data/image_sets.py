"""A `prepare` artifact: the domains of a dataset as arrays, written once and checked on every load.

Of a domain D there are D.images.npy, D.labels.npy, D.split.npy, D.names.npy, and D.json with the sha256 of
each of the four. Each array is hashed by itself so that the unlabelled loader can check what it reads without
opening the labels.

Where the images are files there is no D.images.npy: D.names.npy has their names in the data set's folder, and D.json
says which data set that is, and what identified it (see pipeline.data.inventory).
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

Split = Literal["train", "test"]

SPLITS: dict[Split, int] = {"train": 0, "test": 1}
BOTH = 2
"""In an array `split`, an image that is for training and for testing."""

ARRAYS = ("images", "labels", "split", "names")
"""The arrays of a domain, in the order in which its hash takes them."""

OF_FILES = {"labels", "split", "names", "dataset", "content"}
"""What D.json has where the images are files."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one size, with their labels or without.

    images: uint8 [N, H, W, 3]. labels: int64 [N], or None for an unlabelled set. names: N unique names.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Sequence[int] | np.ndarray) -> "ImageSet":
        """The set of the images at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        labels = None if self.labels is None else self.labels[chosen]
        return type(self)(self.images[chosen], labels, [self.names[i] for i in chosen])


@dataclass(frozen=True)
class ImageFiles(ImageSet):
    """An image set that is read from files when a batch needs it.

    images: object [N], the paths (str) of files in any format and size. labels, names: as in an ImageSet.
    """


@dataclass(frozen=True)
class DomainArrays:
    """All of a domain.

    images: uint8 [N, H, W, 3]. labels: int64 [N]. split: uint8 [N], 0 train, 1 test. names: unique str [N].
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    names: np.ndarray

    def digests(self) -> dict[str, str]:
        """The sha256 of each array, by its name."""
        return {name: digest(getattr(self, name)) for name in ARRAYS}

    def count(self, split: Split) -> int:
        """How many images `split` has."""
        return int((self.split == SPLITS[split]).sum())


def digest(array: np.ndarray) -> str:
    """The sha256 of an array's type, shape and values: of its content, not of the file that numpy writes."""
    header = f"{array.dtype.str} {array.shape}\n".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def domain_sha256(digests: Mapping[str, str]) -> str:
    """The hash of a domain that its card states: over the digests of its arrays, in the order of ARRAYS."""
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in ARRAYS).encode()).hexdigest()


def save_domain(folder: Path, domain: str, arrays: DomainArrays) -> None:
    """Writes `arrays` as domain `domain` of the artifact `folder`."""
    for name in ARRAYS:
        _save_array(folder, domain, name, getattr(arrays, name))
    write_atomic(folder / f"{domain}.json", json.dumps(arrays.digests(), indent=1) + "\n")


def save_files(folder: Path, domain: str, card: FolderCard, listed: Mapping[str, np.ndarray]) -> None:
    """Writes domain `domain` of the artifact `folder`, whose images are the files in place of `card`.

    listed: labels int64 [N], split uint8 [N], and names str [N], below the data set's folder of that domain.
    """
    for name, array in listed.items():
        _save_array(folder, domain, name, array)
    about = {name: digest(array) for name, array in listed.items()}
    about |= {"dataset": card.name, "content": str(card.content)}
    write_atomic(folder / f"{domain}.json", json.dumps(about, indent=1) + "\n")


def _save_array(folder: Path, domain: str, name: str, array: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    write_atomic(folder / f"{domain}.{name}.npy", file.getvalue())


def load_labelled(artifact: Path, domain: str, split: Split) -> ImageSet:
    """The images of one split, with their labels; UserError if a file is not as it was written."""
    return _load(artifact, domain, split, labelled=True)


def load_unlabelled(artifact: Path, domain: str, split: Split) -> ImageSet:
    """As `load_labelled`, but without labels: the file that holds them is never opened."""
    return _load(artifact, domain, split, labelled=False)


def load_whole(artifact: Path, domain: str) -> ImageSet:
    """All images of a domain with their labels, each once: those for training first, then those for testing alone."""
    return _load(artifact, domain, None, labelled=True)


def _load(artifact: Path, domain: str, split: Split | None, labelled: bool) -> ImageSet:
    about = _about(artifact, domain)
    wanted = [name for name in ARRAYS if name in about and (labelled or name != "labels")]
    arrays = {name: _array(artifact, domain, name, about[name]) for name in wanted}
    if split is None:
        chosen = np.argsort(arrays["split"] == SPLITS["test"], kind="stable")
    else:
        (chosen,) = np.nonzero(np.isin(arrays["split"], [SPLITS[split], BOTH]))
    labels = arrays["labels"][chosen] if labelled else None
    names = arrays["names"][chosen].tolist()
    if "images" in arrays:
        return ImageSet(arrays["images"][chosen], labels, names)
    folder = _files_of(artifact, domain, about)
    return ImageFiles(np.array([f"{folder}/{name}" for name in names], dtype=object), labels, names)


def _files_of(artifact: Path, domain: str, about: Mapping[str, str]) -> Path:
    """The folder of a domain whose images are files. UserError if they are not those that were prepared."""
    place = data_folder(about["dataset"])
    try:
        content = json.loads((place / IN_PLACE).read_text(encoding="utf-8"))["content"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"domain {domain}: the images of {about['dataset']} are not in {place}; set $TERRABENCH_DATA to the folder "
            f"that has {about['dataset']}/, or import it again"
        ) from error
    if content != about["content"]:
        raise UserError(
            f"domain {domain}: the images in {place} are others than those that {artifact} was prepared from; "
            "run the suite again, or import those"
        )
    return place / "images" / domain


def _about(artifact: Path, domain: str) -> dict[str, str]:
    """The digests of the arrays of `domain`, as written beside them, and whose files its images are, if they are."""
    path = artifact / f"{domain}.json"
    if not path.exists():
        there = sorted(file.name.removesuffix(".split.npy") for file in artifact.glob("*.split.npy"))
        if domain in there:
            raise _damaged(artifact, domain, path, "is missing")
        raise UserError(f"there is no domain {domain!r} in {artifact}; {nearest(domain, there)}")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(artifact, domain, path, f"cannot be read ({error})") from error
    if not isinstance(about, dict) or set(about) not in (set(ARRAYS), OF_FILES):
        raise _damaged(artifact, domain, path, f"does not hold the hashes of {', '.join(ARRAYS)}")
    return about


def _array(artifact: Path, domain: str, name: str, expected: str) -> np.ndarray:
    """One array of `domain`, if its content has the digest `expected`."""
    path = artifact / f"{domain}.{name}.npy"
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(artifact, domain, path, f"cannot be read ({error})") from error
    found = digest(array)
    if found != expected:
        how = f"was changed (expected sha256 {expected[:16]}…, found {found[:16]}…)"
        raise _damaged(artifact, domain, path, how)
    return array


def _damaged(artifact: Path, domain: str, path: Path, how: str) -> UserError:
    return UserError(f"domain {domain}: {path.name} {how}; delete {artifact}, it will be made again")
