"""Texts of others on a terminal."""

import pytest

from pipeline.core.text import one_line, printable


@pytest.mark.parametrize(
    ("text", "lines", "line"),
    [
        ("été 猫 → −3", "été 猫 → −3", "été 猫 → −3"),
        ("a\x1b[31mb\x9b2J", "a\\x1b[31mb\\x9b2J", "a\\x1b[31mb\\x9b2J"),
        ("a\r\n\tb\n", "a\\x0d\n\tb\n", "a b"),
        ("\u202eabc", "\\u202eabc", "\\u202eabc"),
        ("\udc80", "\\udc80", "\\udc80"),
    ],
)
def test_control_characters_are_spelled(text, lines, line):
    assert printable(text) == lines
    assert one_line(text) == line
    assert one_line(line) == line
