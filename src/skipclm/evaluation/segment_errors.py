"""Detect errors of single translations: empty ones and loops."""

import re

from skipclm.text import key

_WORD = re.compile(r"\w")
REPEATS = 4  # a loop repeats a piece of text at least this many times in a row
SPAN = 60  # maximum length of that piece in characters
_LOOP = re.compile(rf"(.{{1,{SPAN}}}?)\1{{{REPEATS - 1},}}")


def is_empty(hypothesis: str) -> bool:
    """Tell whether a translation has no letter or digit."""
    return _WORD.search(key(hypothesis)) is None


def is_loop(hypothesis: str, reference: str) -> bool:
    """Tell whether a translation has a loop, see REPEATS, and the reference has none."""
    return _has_loop(hypothesis) and not _has_loop(reference)


def _has_loop(text: str) -> bool:
    # The space at the end lets the last word count as a repetition. A piece without letters or spaces is part of a
    # number, such as 1,000,000,000,000.
    loops = _LOOP.finditer(f"{text} ")
    return any(any(character.isalpha() or character.isspace() for character in loop[1]) for loop in loops)
