"""What the models of every kind of configuration are made of."""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Setting = Literal["uda", "dg"]
Precision = Literal["fp32", "bf16", "fp16"]


class Strict(BaseModel):
    """A model that refuses unknown keys and cannot be changed once made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def later(default: Any, description: str) -> Any:
    """A field that came later: left out of keys at its default, so that those of older jobs stay what they were."""
    return Field(default=default, description=description, exclude_if=lambda value: value == default)


def nearest(wrong: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name: those that exist, and the nearest."""
    known = sorted(known)
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.4)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    return f"there are: {', '.join(known) or 'none'}{hint}"
