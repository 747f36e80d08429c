"""Error detectors for single segments: empty translations, copies, wrong languages, loops, cut translations."""

import re

from skipclm.text import key

_WORD = re.compile(r"\w")
REPEATS = 4  # so many times in a row is a loop ...
SPAN = 60  # ... of a piece of so many characters at most
_LOOP = re.compile(rf"(.{{1,{SPAN}}}?)\1{{{REPEATS - 1},}}")


def is_empty(hypothesis: str) -> bool:
    """Tell whether there is no letter or digit."""
    return _WORD.search(key(hypothesis)) is None


def is_loop(hypothesis: str, reference: str) -> bool:
    """Tell whether a piece comes four times in a row or more, and does not in the reference."""
    return _has_loop(hypothesis) and not _has_loop(reference)


def _has_loop(text: str) -> bool:
    # The space lets the last word repeat those before; digits and commas, as in 1,000,000,000,000, are a number.
    return any(any(each.isalpha() or each.isspace() for each in found[1]) for found in _LOOP.finditer(f"{text} "))
