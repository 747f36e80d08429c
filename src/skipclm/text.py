"""The form that text has in the corpus, in translations and in tables, and which sentences are the same."""

import re
import unicodedata

import regex

# White space, control characters and lone surrogates: no sentence may hold what some reader takes for a line end, or
# cannot read.
_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_BYTE_ORDER_MARK = "\ufeff"  # within a line, too: `paste` joins the marks of two files with their lines
# Characters that leave no ink: joiners, soft hyphens, marks of direction, variation selectors. Arabic number signs are
# format characters by category, but are seen.
_INVISIBLE = regex.compile(
    r"[[\p{Default_Ignorable_Code_Point}\p{Cf}]--\p{Prepended_Concatenation_Mark}]", regex.VERSION1
)


def tidy(sentence: str) -> str:
    """Return a sentence in NFC, on one line, with single spaces, without control characters and byte-order marks."""
    return _GAPS.sub(" ", unicodedata.normalize("NFC", sentence.replace(_BYTE_ORDER_MARK, ""))).strip()


def key(sentence: str) -> str:
    """Return a text that two tidy sentences have in common if they look the same.

    It lacks the characters that leave no ink. Sentences keep them: some are spelling (Persian and Indic joiners) or
    part of emoji. Case, punctuation and width count: full-width letters are not the same as others.
    """
    return tidy(_INVISIBLE.sub("", sentence)) if _INVISIBLE.search(sentence) else sentence


def is_visible(sentence: str) -> bool:
    """Tell whether anything in a sentence leaves ink: not spaces and invisible characters alone."""
    return any(unicodedata.category(character)[0] not in "ZC" for character in key(sentence))


def is_copy(sentence: str, source: str) -> bool:
    """Tell whether a sentence is a copy of another, but for case, spaces and invisible characters."""
    source, sentence = (key(tidy(text)).casefold() for text in (source, sentence))
    return source != "" and sentence == source
