"""A suite of any setting: a union that the field `setting` discriminates."""

from typing import Annotated, get_args

from pydantic import Field

from pipeline.config.morph_suite import MorphSuite
from pipeline.config.suites import Suite

AnySuite = Suite | MorphSuite

TaggedSuite = Annotated[AnySuite, Field(discriminator="setting")]
"""The same as a field of a pydantic model."""

SUITE_MODELS: dict[str, type[AnySuite]] = {
    setting: model
    for model in get_args(AnySuite)
    for setting in get_args(model.model_fields["setting"].annotation)
}
"""The class of a suite, by its setting."""
