"""The base class, the number types and the helpers of every configuration model."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _number(value: Any) -> Any:
    """Refuse true, false and quoted numbers, which pydantic would convert to numbers."""
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return value  # pydantic has a sentence for texts that are no numbers
        raise ValueError("a number is expected, without quotes")
    return value


MAX_TIMESTEPS = 100_000
"""The largest noise schedule that is taken; that of Stable Diffusion has 1,000 timesteps."""

_Integer = Annotated[int, BeforeValidator(_number)]
Whole = Annotated[_Integer, Field(le=10**9)]
Real = Annotated[float, BeforeValidator(_number)]
Count = Annotated[Whole, Field(ge=1)]
SamplingSteps = Annotated[Count, Field(le=MAX_TIMESTEPS)]
"""The number of steps of a sampler, each of which is another training timestep."""
Seed = Annotated[_Integer, Field(ge=0, le=2**63 - 1)]
Rate = Annotated[Real, Field(gt=0)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Setting = Literal["uda", "dg"]
Precision = Literal["fp32", "bf16", "fp16"]


def _check_pattern(text: str) -> str:
    """Return `text` if it is a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"this is not a regular expression ({error})") from error
    return text


Pattern = Annotated[str, AfterValidator(_check_pattern)]
"""A regular expression."""


class Strict(BaseModel):
    """A model that refuses unknown keys, infinity and NaN, and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def keyed_unless_default(default: Any, description: str) -> Any:
    """Declare a field that enters the key of a job only where its value is not the default.

    A setting that is added to a stage gets this declaration, with the present behaviour as the default. The
    jobs of suites that do not state the setting then keep their keys, their artifacts and their results.
    """
    return Field(default=default, description=description, exclude_if=lambda value: value == default)


def never_keyed(default: Any, description: str) -> Any:
    """Declare a field that does not enter the key of a job, because the artifact does not depend on it."""
    return Field(default=default, description=description, exclude=True)


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the names that exist, and the one most like it."""
    known = sorted(known)
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    return f"there are: {', '.join(known) or 'none'}{hint}"


def check_each_once(values: Sequence[object]) -> None:
    """Check that no value is repeated; spaces within a text do not matter.

    Raises:
        ValueError: A value is repeated.
    """
    seen: set[str] = set()
    for value in values:
        text = str(value).replace(" ", "")
        if text in seen:
            raise ValueError(f"{value!r} is repeated; state it once")
        seen.add(text)
