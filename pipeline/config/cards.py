"""datasets/NAME.yaml: the form of a dataset card."""

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_serializer, model_validator

from pipeline.config.base import Count, Seed, Strict, Whole
from pipeline.config.names import DomainName, PathName, check_path_name, first_equal_pair, simplified

Orientation = Literal["stored", "upright"]
"""How the images of files are turned: as their pixels are stored, or as their EXIF data say."""


class DatasetCard(Strict):
    """What every card states. The images are made here (`BuiltCard`), or are files (`FolderCard`)."""

    name: PathName = Field(description="name of the dataset in suites")
    title: str = Field(description="name of the dataset on pages and in tables")
    image_size: Count = Field(description="height and width of prepared images, in pixels")
    classes: list[PathName] = Field(description="names of the classes, in the order of the labels")
    prompt_words: dict[str, str] = Field(
        default={},
        description="words for a class in prompts, by its name; other classes are called by their names, in "
        "lower case and with spaces for underscores",
    )
    domains: Mapping[DomainName, "DomainCard"] = Field(description="domains by their short names")
    licence: str = Field(default="", description="licences of the images; empty = none stated")
    citation: str = Field(default="", description="what to cite; empty = nothing")

    def word(self, label: int) -> str:
        """Return the words that stand for class `label` in a prompt."""
        name = self.classes[label]
        return self.prompt_words.get(name, name.lower().replace("_", " "))

    def train_images(self, domain: str) -> int:
        """Return how many images of `domain` are for training."""
        raise NotImplementedError

    def test_images(self, domain: str) -> int:
        """Return how many images of `domain` are for testing."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _prompt_words_are_of_classes(self) -> "DatasetCard":
        unknown = set(self.prompt_words) - set(self.classes)
        if unknown:
            raise ValueError(f"prompt_words names {sorted(unknown)}, which are not among classes")
        return self

    @model_validator(mode="after")
    def _domains_can_be_tasks(self) -> "DatasetCard":
        for short in self.domains:
            if "->" in short:
                raise ValueError(f"domains: {short!r} contains '->', which tasks are written with")
        return self

    @model_validator(mode="after")
    def _classes_differ(self) -> "DatasetCard":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes names {Counter(self.classes).most_common(1)[0][0]!r} twice")
        pair = first_equal_pair((name, self.word(label)) for label, name in enumerate(self.classes))
        if pair is not None:
            raise ValueError(
                f"classes {pair[0]!r} and {pair[1]!r} have the same words in prompts, "
                f"{self.word(self.classes.index(pair[0]))!r}; set other words for one of them in prompt_words"
            )
        return self


class DomainCard(Strict):
    """A domain of a dataset."""

    name: str = Field(description="full name of the domain")
    about: str = Field(default="", description="what its images are")


class BuiltDomain(DomainCard):
    """A domain whose images this project makes."""

    train: Count = Field(description="number of training images")
    test: Count = Field(description="number of test images")
    sha256: str = Field(description="SHA-256 hash of all its images and labels")


class BuiltCard(DatasetCard):
    """A dataset whose images this project makes.

    All of the card enters the keys of jobs, the texts included.
    """

    builder: Literal["digits"] = Field(description="what makes the images: `digits`")
    domains: dict[DomainName, BuiltDomain] = Field(description="domains by their short names")
    seed: Seed = Field(default=0, description="seed of splits and of random images")

    def train_images(self, domain: str) -> int:
        """Return how many images of `domain` are for training."""
        return self.domains[domain].train

    def test_images(self, domain: str) -> int:
        """Return how many images of `domain` are for testing."""
        return self.domains[domain].test


class FolderDomain(DomainCard):
    """A domain whose images are files."""

    folders: list[str] = Field(
        default=[],
        description="other names of its folder and lists, beside `name` and the short name; case, spaces and "
        "underscores do not matter",
    )
    images: Count = Field(description="number of images")
    test: Count | None = Field(
        default=None,
        description="split: lists: how many of these images the publisher's lists keep for testing",
    )
    per_class: list[Annotated[Whole, Field(ge=0)]] | None = Field(
        default=None, description="images of each class, in the order of `classes`; null = not known"
    )

    @property
    def train(self) -> int:
        """The number of training images: all, unless lists keep some for testing."""
        return self.images - (self.test or 0)


class Archive(Strict):
    """One file to download."""

    url: str = Field(default="", description="where it can be downloaded without a browser; empty = nowhere")
    file: str = Field(default="", description="its name; empty = the last part of `url`")
    into: str = Field(default="", description="folder that it is unpacked into; empty = the dataset's own")
    checksum: Annotated[str, Field(pattern=r"^(md5|sha256|sha512):[0-9a-f]{32,128}$")] | None = Field(
        default=None,
        description="md5:…, sha256:… or sha512:…, of which the first 32 digits are enough; null = not "
        "checked",
    )
    size: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="its number of bytes; null = what the server states"
    )

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.file or PurePosixPath(urlsplit(self.url).path).name

    @model_validator(mode="after")
    def _stays_in_its_folder(self) -> "Archive":
        parts = (*PurePosixPath(self.into).parts, *PurePosixPath(self.name).parts)
        if not self.name or "/" in self.name or ".." in parts or self.into.startswith("/"):
            raise ValueError(
                f"file {self.file!r} and into {self.into!r} must name a file and a folder below the dataset's"
            )
        for part in parts:
            check_path_name(part)
        return self


class PackageTable(Strict):
    """Images that an installed Python package brings, with a table that says what each image shows."""

    module: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = Field(
        description="name of the package's module; it is not imported"
    )
    install: str = Field(description="what `pip install` takes to get the package")
    table: str = Field(
        description="file below the module's folder with a line for each image: words with blanks between "
        "them. Paths in the table start at its own folder"
    )
    columns: list[Literal["path", "domain", "class"]] = Field(description="what the words of a line are")
    domains: dict[str, DomainName] = Field(description="domains by the words of the column `domain`")
    classes: dict[str, PathName] = Field(description="classes by the words of the column `class`")

    @model_validator(mode="after")
    def _has_each_column_once(self) -> "PackageTable":
        if sorted(self.columns) != ["class", "domain", "path"]:
            raise ValueError(f"columns must name path, domain and class, each once, not {self.columns}")
        return self


class Source(Strict):
    """One place that offers the images."""

    by: str = Field(description="who offers them")
    page: str = Field(default="", description="page to open in a browser")
    steps: str = Field(default="", description="what to do there by hand")
    archives: list[Archive] = Field(default=[], description="the files to download")
    package: PackageTable | None = Field(
        default=None, description="the installed Python package that brings the images; null = none"
    )

    @model_validator(mode="after")
    def _archives_do_not_overwrite_each_other(self) -> "Source":
        names = [archive.name for archive in self.archives]
        taken = Counter(name.casefold() + end for name in names for end in ("", ".part", ".part.json"))
        for name in names:
            if taken[name.casefold()] > 1:
                raise ValueError(
                    f"archives: {name!r} is also the name of another download, or of a part of it; set "
                    "another with `file`"
                )
        return self

    @property
    def automatic(self) -> bool:
        """Whether `datasets fetch` can get everything by itself."""
        if self.package is not None:
            return True
        return bool(self.archives) and all(archive.url for archive in self.archives)


class FolderCard(DatasetCard):
    """A dataset of image files, with a folder or a list for each domain."""

    domains: dict[DomainName, FolderDomain] = Field(description="domains by their short names")
    split: Literal["all", "lists"] = Field(
        default="all",
        description="`all`: every image is for training and for testing, as is usual for unsupervised "
        "domain adaptation, which trains on target images without their labels. `lists`: as the publisher's "
        "lists say",
    )
    orientation: Orientation = Field(
        default="stored",
        description="how every stage reads images. `stored`: as their pixels are stored, as torchvision and "
        "the code of papers do. `upright`: turned as their EXIF data say, which photos of phones need",
    )
    sources: list[Source] = Field(min_length=1, description="places that offer the images")
    content: str | None = Field(
        default=None,
        description="hash of the images that are in place; found by itself, not stated in a card",
    )

    def train_images(self, domain: str) -> int:
        """Return how many images of `domain` are for training."""
        return self.domains[domain].train

    def test_images(self, domain: str) -> int:
        """Return how many images of `domain` are for testing: all, unless lists name them."""
        own = self.domains[domain]
        return own.train if own.test is None else own.test

    @model_serializer
    def _what_is_prepared(self) -> dict[str, Any]:
        """Return what the keys of jobs depend on: not the texts, which may be improved at any time."""
        read = {} if self.orientation == "stored" else {"orientation": self.orientation}
        return {
            "name": self.name,
            "classes": self.classes,
            "domains": list(self.domains),
            "split": self.split,
            "content": self.content,
            **read,
        }

    @model_validator(mode="after")
    def _domains_differ(self) -> "FolderCard":
        names = (
            (short, simplified(name))
            for short, domain in self.domains.items()
            for name in (short, domain.name, *domain.folders)
        )
        pair = first_equal_pair(names)
        if pair is not None:
            raise ValueError(
                f"domains {pair[0]} and {pair[1]} could have the same folder: their names, or `folders`, "
                "differ in nothing but case, spaces and signs"
            )
        return self

    @model_validator(mode="after")
    def _tables_name_what_is_there(self) -> "FolderCard":
        for source in self.sources:
            if source.package is None:
                continue
            for field, known in (("domains", set(self.domains)), ("classes", set(self.classes))):
                unknown = set(getattr(source.package, field).values()) - known
                if unknown:
                    raise ValueError(
                        f"the package of source {source.by!r}: {field} names {sorted(unknown)}, which the "
                        "card does not have"
                    )
        return self

    @model_validator(mode="after")
    def _counts_agree(self) -> "FolderCard":
        for short, domain in self.domains.items():
            counted = domain.per_class
            if counted is not None and (len(counted), sum(counted)) != (len(self.classes), domain.images):
                raise ValueError(
                    f"domains.{short}: per_class has {len(counted)} numbers with the sum {sum(counted)}, "
                    f"but there are {len(self.classes)} classes and {domain.images} images"
                )
            if (domain.test is not None) != (self.split == "lists"):
                raise ValueError(f"domains.{short}: test goes with `split: lists`, and only with it")
        return self
