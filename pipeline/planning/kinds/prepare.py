"""Job `prepare`: the images of a dataset card, as arrays or as a list of files."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import BuiltCard, DatasetCard, FolderCard, Strict
from pipeline.core.job import Job, JobKind, register

BYTES_PER_NAME = 300
"""About the bytes that the name, label and hash of a file take."""


class PrepareParams(Strict):
    """The card, of which every domain is prepared."""

    card: BuiltCard | FolderCard = Field(description="the dataset card")


def card_of(inputs: Mapping[str, Job]) -> DatasetCard:
    """Return the dataset card of the job that prepared the data among `inputs`."""
    return inputs["data"].params_as(PrepareParams).card


@register
class Prepare(JobKind[PrepareParams]):
    """Reads or builds images, checks them and stores them. Its work is counted in images."""

    name = "prepare"
    params = PrepareParams
    code_version = 1
    module = "pipeline.data.prepare"
    units_per_second = 500.0

    def work(self, params: PrepareParams, images: int) -> float:
        """Count the images of all domains."""
        return float(sum(domain.train + (domain.test or 0) for domain in params.card.domains.values()))

    def disk(self, params: PrepareParams, inputs: Mapping[str, Job]) -> float:
        """Count three bytes for each pixel of images that are built here; files are only listed."""
        if isinstance(params.card, FolderCard):
            return BYTES_PER_NAME * self.work(params, 0)
        return 3.0 * params.card.image_size**2 * self.work(params, 0)
