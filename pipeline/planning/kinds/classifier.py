"""What trained and zero-shot classifiers state of their task."""

from pydantic import Field

from pipeline.config import Count, Setting, Strict, task_name


class ClassifierParams(Strict):
    """A task and its classes. `sources` is one domain under uda, and two or more under dg."""

    dataset: str = Field(description="name of the dataset")
    setting: Setting = Field(description="the setting of the suite")
    sources: list[str] = Field(min_length=1, description="the source domains")
    target: str = Field(description="the target domain")
    classes: list[str] = Field(description="names of the classes")
    selections: list[str] = Field(description="rules of checkpoint selection")
    threads: Count = Field(description="CPU threads")

    @property
    def task(self) -> str:
        """The name of the task in records."""
        return task_name(self.setting, self.sources, self.target)

    def identity(self) -> dict[str, str | int]:
        """Return the columns of its records that are known before it has run."""
        return {"dataset": self.dataset, "setting": self.setting, "task": self.task}
