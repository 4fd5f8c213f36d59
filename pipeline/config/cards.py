"""datasets/NAME.yaml: the form of a dataset card."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_serializer, model_validator

from pipeline.config.base import Count, Seed, Strict


class DatasetCard(Strict):
    """What every card states. `BuiltCard` and `FolderCard` say where the images come from."""

    name: str
    title: str
    image_size: Count
    classes: list[str]
    prompt_words: dict[str, str] = Field(default={})
    domains: Mapping[str, "DomainCard"]
    licence: str
    citation: str

    def word(self, label: int) -> str:
        """The words that stand for class `label` in a prompt: lower case, underscores as spaces, unless reworded."""
        name = self.classes[label]
        return self.prompt_words.get(name, name.lower().replace("_", " "))

    def train_images(self, domain: str) -> int:
        """Return how many images of `domain` are for training."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _reworded_classes_exist(self) -> "DatasetCard":
        unknown = set(self.prompt_words) - set(self.classes)
        if unknown:
            raise ValueError(f"prompt_words names {sorted(unknown)}, which are not among classes")
        return self


class DomainCard(Strict):
    """One domain of a dataset: its full name, and more in the two kinds of it."""

    name: str
    about: str = ""


# ------------------------------------------------------------------------------------------- sets made here


class BuiltDomain(DomainCard):
    """A domain that this project makes: the number of images of each split, and the hash of all of it."""

    train: Count
    test: Count
    sha256: str


class BuiltCard(DatasetCard):
    """A dataset that this project makes."""

    builder: Literal["digits"]
    domains: dict[str, BuiltDomain]
    seed: Seed = 0

    def train_images(self, domain: str) -> int:
        """Return how many images of `domain` are for training."""
        return self.domains[domain].train


# ------------------------------------------------------------------------------------------- sets of files


class FolderDomain(DomainCard):
    """A domain whose images are files.

    folders: how its folder and its lists are also called, besides `name` and the short form; case, spaces, underscores
    and the like do not matter. images: how many there are. test: of these, those that the publisher's lists keep for
    testing (`split: lists` alone). per_class: how many of each class, in the order of `classes`, where that is known.
    """

    folders: list[str] = Field(default=[])
    images: Count
    test: Count | None = None
    per_class: list[Annotated[int, Field(ge=0)]] | None = None

    @property
    def train(self) -> int:
        """How many images are for training; all of them, unless lists keep some for testing."""
        return self.images - (self.test or 0)


class Archive(Strict):
    """One file to download. checksum: `md5:…`, `sha256:…` or `sha512:…`, of which the first 32 digits are enough."""

    url: str = Field(default="", description="where it can be had without a click; empty if nowhere")
    file: str = Field(default="", description="how it is called; without it, as its url ends")
    into: str = Field(default="", description="the folder that it is unpacked into")
    checksum: Annotated[str, Field(pattern=r"^(md5|sha256|sha512):[0-9a-f]{32,128}$")] | None = None

    @property
    def name(self) -> str:
        """How the file is called."""
        return self.file or PurePosixPath(urlsplit(self.url).path).name

    @model_validator(mode="after")
    def _stays_in_its_folder(self) -> "Archive":
        parts = (*PurePosixPath(self.into).parts, *PurePosixPath(self.name).parts)
        if not self.name or "/" in self.name or ".." in parts or self.into.startswith("/"):
            raise ValueError(
                f"file {self.file!r} and into {self.into!r} are to name a file and a folder below"
            )
        return self


class Source(Strict):
    """One place that has the images. With archives that all have a url, `datasets fetch` gets them by itself."""

    by: str = Field(description="who offers it")
    page: str = Field(default="", description="to be read in a browser")
    steps: str = Field(default="", description="what to do there by hand")
    archives: list[Archive] = Field(default=[])

    @property
    def automatic(self) -> bool:
        """Whether no human is needed."""
        return bool(self.archives) and all(archive.url for archive in self.archives)


class FolderCard(DatasetCard):
    """A dataset of image files, a folder or a list for each domain.

    split: `all`: every image is one to train on and one to test on, as is usual for unsupervised adaptation (the
    target is trained on without its labels, and tested on); `lists`: as the publisher's lists say.
    content: what identifies the images that are in place, None before they are; no field of the YAML.
    """

    domains: dict[str, FolderDomain]
    split: Literal["all", "lists"] = "all"
    sources: list[Source] = Field(min_length=1)
    content: str | None = None

    def train_images(self, domain: str) -> int:
        """Return how many images of `domain` are for training."""
        return self.domains[domain].train

    @model_serializer
    def _what_is_prepared(self) -> dict[str, Any]:
        """What keys of jobs depend on: not on words, pages and licences, which may be bettered at any time."""
        return {
            "name": self.name,
            "classes": self.classes,
            "domains": list(self.domains),
            "split": self.split,
            "content": self.content,
        }

    @model_validator(mode="after")
    def _counts_agree(self) -> "FolderCard":
        for short, domain in self.domains.items():
            counted = domain.per_class
            if counted is not None and (len(counted), sum(counted)) != (len(self.classes), domain.images):
                raise ValueError(
                    f"domains.{short}: per_class has {len(counted)} numbers with the sum {sum(counted)}, for "
                    f"{len(self.classes)} classes and {domain.images} images"
                )
            if (domain.test is not None) != (self.split == "lists"):
                raise ValueError(f"domains.{short}: test goes with `split: lists`, and only with it")
        return self
