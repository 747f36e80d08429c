"""Normalize the text of corpus, translations and tables, and compare sentences."""

import re
import unicodedata

import regex

# White space, control characters and lone surrogates. Some programs read them as line ends or cannot read them.
_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_BYTE_ORDER_MARK = "\ufeff"  # also inside lines: `paste` joins lines with the marks of both files
# Invisible characters: joiners, soft hyphens, direction marks, variation selectors. Arabic number signs are in the same
# category (Cf), but they are visible.
_INVISIBLE = regex.compile(
    r"[[\p{Default_Ignorable_Code_Point}\p{Cf}]--\p{Prepended_Concatenation_Mark}]", regex.VERSION1
)


def tidy(sentence: str) -> str:
    """Return a sentence in NFC, on one line, with single spaces, without control characters and byte-order marks."""
    return _GAPS.sub(" ", unicodedata.normalize("NFC", sentence.replace(_BYTE_ORDER_MARK, ""))).strip()


def key(sentence: str) -> str:
    """Return a key that is equal for two tidy sentences if they look the same.

    The key has no invisible characters. The sentences themselves keep them, because some are part of spelling (Persian
    and Indic joiners) or of emoji. The key keeps case, punctuation and width: full-width letters differ from others.
    """
    return tidy(_INVISIBLE.sub("", sentence)) if _INVISIBLE.search(sentence) else sentence


def is_visible(sentence: str) -> bool:
    """Tell whether a sentence has visible characters, not only spaces and invisible ones."""
    return any(unicodedata.category(character)[0] not in "ZC" for character in key(sentence))


def is_copy(sentence: str, source: str) -> bool:
    """Tell whether a sentence equals the source, apart from case, spaces and invisible characters."""
    source, sentence = (key(tidy(text)).casefold() for text in (source, sentence))
    return source != "" and sentence == source
