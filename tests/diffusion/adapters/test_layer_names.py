"""`include` chooses layers as `re.fullmatch` does; an expression that takes too long is an error."""

import time

import pytest

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import layer_names

NAMES = ("down.0.attn1.to_q", "down.0.attn1.to_k", "mid_block.attn2.to_q", "mid_block.ff\n")


@pytest.mark.parametrize(
    ("pattern", "chosen"), [(".*", NAMES[:3]), (r".*attn1\.(to_q|to_k)", NAMES[:2]), ("mid", ())]
)
def test_whole_names_match(pattern: str, chosen: tuple[str, ...]) -> None:
    assert layer_names.matching_names(pattern, NAMES) == chosen


def test_an_expression_that_explodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_names, "LIMIT_S", 2)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"adapter: include '.*x_never' takes more than 2 s .* simpler"):
        layer_names.matching_names("(.*)*(.*)*(.*)*(.*)*x_never", ("down_blocks.0.attentions.0.to_q" * 3,))
    assert time.monotonic() - started < 30


def test_an_invalid_expression_is_refused_with_the_suite() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        AdapterSpec(include="(")
