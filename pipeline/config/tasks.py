"""What the stages are told of a task: its domains and the words of its classes, never the target's labels."""

from collections.abc import Sequence

from pydantic import Field

from pipeline.config.base import Setting, Strict


class PairParams(Strict):
    """An ordered pair of domains, and the words that stand for the classes in prompts."""

    source: str = Field(description="the source domain")
    target: str = Field(description="the target domain")
    words: list[str] = Field(description="words of each class in prompts, in the order of the labels")


class DomainsParams(Strict):
    """The source domains under dg, and the words of the classes. The held-out domain is not named."""

    sources: list[str] = Field(min_length=1, description="the source domains")
    words: list[str] = Field(description="words of each class in prompts, in the order of the labels")


def prompt(template: str, word: str) -> str:
    """Return `template` with the words of a class in the place of {class}."""
    return template.replace("{class}", word)


def task_name(setting: Setting, sources: Sequence[str], target: str) -> str:
    """Return what a task is called: `MN->MM` (uda), or `->MM` (dg, with the held-out domain)."""
    return f"->{target}" if setting == "dg" else f"{sources[0]}->{target}"
