"""datasets/NAME.yaml: the form of a dataset card."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Seed, Strict


class DomainCard(Strict):
    """One domain of a dataset: its full name and the number of images of each split."""

    name: str
    train: Count
    test: Count
    sha256: str
    about: str = ""


class DatasetCard(Strict):
    """datasets/NAME.yaml."""

    name: str
    title: str
    builder: Literal["digits"]
    image_size: Count
    classes: list[str]
    prompt_words: dict[str, str] = Field(default={})
    domains: dict[str, DomainCard]
    seed: Seed = 0
    licence: str
    citation: str

    def word(self, label: int) -> str:
        """The words that stand for class `label` in a prompt: lower case, underscores as spaces, unless reworded."""
        name = self.classes[label]
        return self.prompt_words.get(name, name.lower().replace("_", " "))

    @model_validator(mode="after")
    def _reworded_classes_exist(self) -> "DatasetCard":
        unknown = set(self.prompt_words) - set(self.classes)
        if unknown:
            raise ValueError(f"prompt_words names {sorted(unknown)}, which are not among classes")
        return self
