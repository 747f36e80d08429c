"""Text has one form throughout."""

import pytest

from skipclm.text import tidy


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" one\ntwo\r\n\tthree\u2028four ", "one two three four"),
        ("a\x00b\x1bc\x85d", "a b c d"),
        ("u\u0308", "ü"),
        ("\ud800x", "x"),
    ],
)
def test_a_text_becomes_one_line(text, line):
    assert tidy(text) == line
