"""The property that every reader of files has, and inputs that try to break it."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from pipeline.core.errors import FaultyFileError, UserError

LONGEST = 400
"""The characters of a sentence, without the path of the file."""

LIMIT = 1.0
"""Seconds of processor time within which an input is read or refused."""

quickly = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""The settings of these tests: the same inputs in every run, and no time spent on smaller examples.

Each example writes its file anew, so that a folder for the whole test is enough.
"""


def read_or_refuse(read: Callable[[], Any], path: Path, *, named: str | None = None) -> Any:
    """Return what `read` returns; None if it refuses its input as a user should be told.

    Args:
        read: Reads the file at `path`.
        path: The file, or the folder of the files that are read.
        named: What every sentence must name; by default the path.
    """
    start = time.process_time()
    try:
        return read()
    except UserError as error:
        for sentence in error.faults if isinstance(error, FaultyFileError) else [str(error)]:
            assert (named or str(path)) in sentence, sentence
            shown = sentence.replace(str(path), "FILE")
            assert len(shown) <= LONGEST, f"{len(shown)} characters: {shown[:2000]}"
            assert len(shown.splitlines()) == 1, sentence
        return None
    finally:
        assert time.process_time() - start < LIMIT, time.process_time() - start


hostile_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 2**63, 10**30, 1e308, -0.0, float("nan"), float("inf")]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "..",
            "../../x",
            "/etc/passwd",
            "\x1b[31m",
            "a\nb",
            "=1+1",
            "->",
            "A->B",
            "x" * 5000,
            "\u202e",
        ]
    ),
    st.sampled_from([[], {}, [[]], [None], {"": {}}, ["a"] * 300, {"a": {"b": {"c": []}}}]),
)
"""Values that a field of a file may have in the hands of somebody who makes mistakes, or attacks."""


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield from _places(inside, (*place, key))


@st.composite
def damaged(draw: st.DrawFn, valid: Any) -> Any:
    """Draw a copy of the plain value `valid` in which one to three values are replaced, removed or added."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return value
        *above, last = draw(st.sampled_from(places))
        parent = value
        for step in above:
            parent = parent[step]
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if action == "replace":
            parent[last] = draw(hostile_values)
        elif action == "remove":
            del parent[last]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = draw(hostile_values)
        else:
            parent.append(draw(hostile_values))
    return value


@st.composite
def damaged_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """Draw a copy of `valid` with bytes cut off, replaced or put between."""
    at = draw(st.integers(0, len(valid)))
    upto = draw(st.integers(at, min(len(valid), at + 40)))
    return valid[:at] + draw(st.one_of(st.just(b""), st.binary(max_size=12))) + valid[upto:]


hostile_contents = pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\0" * 100,
        b"\xff\xfe" + "name: x".encode("utf-16-le"),
        b"\xef\xbb\xbf",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"\xed\xa0\x80",
        b"- " * 3000,
        b"1" * 20_000,
        b"x: " + b"9" * 20_000,
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=lambda content: f"{len(content)} bytes {content[:6]!r}",
)
"""Contents that are no file of any kind."""
