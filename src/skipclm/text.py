"""The form that text has throughout: in the corpus, in translations and in tables."""

import re
import unicodedata

# White space, control characters and lone surrogates: no sentence may hold what some reader takes for a line end, or
# cannot read.
_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def tidy(sentence: str) -> str:
    """Return a sentence in NFC, on one line, with single spaces and without control characters."""
    return _GAPS.sub(" ", unicodedata.normalize("NFC", sentence)).strip()
