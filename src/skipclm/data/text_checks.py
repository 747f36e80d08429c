"""Find what was taken for sentences and is none: headers, markup, quotes and escapes of file formats, wrong decoding.

What leaves no doubt is refused. The rest may be text for once, and is warned of.
"""

import re
from collections.abc import Callable, Collection, Sequence
from html.entities import html5
from typing import NamedTuple

from skipclm.errors import InputError
from skipclm.text import key, tidy

_LANGUAGES = """
arabic bengali bulgarian catalan chinese croatian czech danish dutch english estonian finnish french german greek
hebrew hindi hungarian icelandic indonesian irish italian japanese khmer korean latvian lithuanian malay maltese
norwegian persian polish portuguese romanian russian serbian slovak slovenian spanish swahili swedish tamil thai turkish
ukrainian urdu vietnamese deutsch englisch français anglais español inglés italiano inglese português türkçe ingilizce
ara ben bul cat ces cze dan deu ger dut ell eng est fas fin fra fre heb hin hrv hun ind isl ita jpn kor lav lit nld
nor pol por ron rum rus slk slv spa srp swe tur ukr urd vie zho cmn
русский английский 中文 汉语 英文 英语 日本語 英語 한국어 영어
"""
_HEADERS = frozenset(
    "source target src tgt trg text sentence segment translation translated original reference ref input output lang "
    "language id sources targets inputs outputs mt hypothesis premise instruction response quelle ziel übersetzung "
    f"kaynak hedef çeviri {_LANGUAGES}".split()
)
# Region or script: en-US, eng_Latn, English (US); or the letter of one of two columns: sentence_A.
_SUBTAG = re.compile(r"(?<=[a-z])[-_](?:[A-Z]{1,2}|[A-Z][a-z]{3})\b|\s*\([A-Z]{2}\)")
_MOST = 0.5  # share of the sentences that makes a form certain
_QUOTED = 0.9  # share of the sentences in quotes that is more than dialogue has
_FEW = 5  # fewer sentences tell nothing by their share

# The bytes of the characters that Windows-1252 has where Latin-1 has control characters; of five bytes it has none.
_WINDOWS = {
    ord(bytes([byte]).decode("cp1252")): byte for byte in set(range(0x80, 0xA0)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D}
}
_TAG = re.compile(
    r"""</?[A-Za-z][\w:.-]*(?:\s+[\w:.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'))*\s*/?>|<(?:\?xml|!DOCTYPE)\b[^<>]*>"""
)
_TAGGED = re.compile(rf"\s*(?:{_TAG.pattern})(?:.*(?:{_TAG.pattern}))?\s*", re.DOTALL)
_ENTITY = re.compile(r"&(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});")
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[nrt](?![a-z])")
_SEGMENTED = re.compile(r"\w@@(?:\s|$)|\s@-@\s|▁\w|\s##\w|￭|Ġ\w|-[LR][RSC]B-")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")


class _Sign(NamedTuple):
    """What tells that a sentence is not as its readers would see it."""

    shows: Callable[[str], object]
    what: str
    remedy: str


def check_header(row: tuple[str, str], names: Collection[str]) -> None:
    """Raise an `InputError` if the first row of a file names its columns.

    `names` are what the source calls the pair's languages.
    """
    known = _HEADERS | {word for name in names for word in _words(name)}
    are_names = all(0 < len(words) <= 3 and words <= known for words in map(_words, row))
    are_numbers = row == ("0", "1")  # what pandas calls columns without names
    if are_numbers or (are_names and len({cell.strip().casefold() for cell in row}) > 1):
        raise InputError(
            f"expected sentences from the first line on, found the header {' / '.join(row)}; remove it (tail -n +2)"
        )


def check_text(sentences: Sequence[str]) -> list[str]:
    """Return warnings of what in raw sentences of one language is not text; the first such sentence is shown.

    Raises an `InputError` where most of them are markup, or have letters with characters of code zero between.
    """
    filled = [(number, text) for number, text in enumerate(sentences, start=1) if text.strip()]
    _refuse_most(
        filled,
        lambda text: "\0" in text,
        "characters of code zero, as of UTF-16 or UTF-32 that was read as UTF-8",
        "convert the text to UTF-8",
    )
    _refuse_most(filled, _TAGGED.fullmatch, "tags", "take the sentences out of the markup")
    found = []
    for sign in (*_SIGNS, _quotes(filled)):
        shown = [(number, text) for number, text in filled if sign.shows(text)]
        if shown:
            number, text = shown[0]
            found.append(
                f"{len(shown)} of {len(sentences)} sentences {sign.what}, first number {number}: {_short(text)}; "
                f"{sign.remedy}"
            )
    return found


def _refuse_most(filled: list[tuple[int, str]], shows: Callable[[str], object], what: str, remedy: str) -> None:
    shown = [each for each in filled if shows(each[1])]
    if len(shown) > _MOST * len(filled):
        number, text = shown[0]
        raise InputError(
            f"expected sentences, found {what} in {len(shown)} of {len(filled)}, first in number {number}: "
            f"{_short(text)}; {remedy}"
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _words(cell: str) -> set[str]:
    """Return the words of a column's name, without numbers that end them: none if it ends like a sentence."""
    name = _SUBTAG.sub("", key(tidy(cell))).casefold()
    words = {word.rstrip("0123456789") for word in re.findall(r"[^\W_]+", name)}
    return set() if cell.rstrip().endswith((".", "!", "?", "。")) else words


def _is_mojibake(text: str) -> bool:
    """Tell whether a text is UTF-8 that was read as Latin-1 or Windows-1252: whether the way back gives UTF-8."""
    if text.isascii():
        return False
    try:
        text.translate(_WINDOWS).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return False
    return True


def _has_entity(text: str) -> bool:
    return "&" in text and any(name[0] == "#" or f"{name};" in html5 for name in _ENTITY.findall(text))


def _is_quoted(text: str) -> bool:
    """Tell whether a text is in double quotes, with only double ones of them within, as a field of CSV may be."""
    text = text.strip()
    return len(text) > 2 and text[0] == text[-1] == '"' and '"' not in text[1:-1].replace('""', "")


def _quotes(filled: list[tuple[int, str]]) -> _Sign:
    """Return the sign of CSV: quotes around a sentence if nearly all have them, else such with double ones within."""
    count = sum(_is_quoted(text) for _, text in filled)
    is_format = len(filled) >= _FEW and count > _QUOTED * len(filled)

    def shows(text: str) -> bool:
        return _is_quoted(text) and (is_format or '""' in text.strip()[1:-1])

    return _Sign(shows, "are in quotes of CSV", "write the file without them, by a reader of CSV")


_SIGNS = (
    _Sign(
        _is_mojibake,
        "are UTF-8 that was read as Latin-1 or Windows-1252",
        "undo it (iconv -f UTF-8 -t WINDOWS-1252) or mend them",
    ),
    _Sign(
        lambda text: "\ufffd" in text,
        "hold U+FFFD, which stands for what could not be decoded",
        "decode the original anew",
    ),
    _Sign(
        lambda text: _CONTROL.search(text) and not _is_mojibake(text),
        "hold control characters, which are read as spaces",
        "mend them if they stand for letters",
    ),
    _Sign(_TAG.search, "hold tags", "remove them if they are no part of the text"),
    _Sign(_has_entity, "hold HTML entities, as Moses writes them too", "replace them by their characters"),
    _Sign(_ESCAPE.search, "hold escapes of characters", "replace them by their characters"),
    _Sign(_SEGMENTED.search, "hold marks of a tokenizer", "undo the segmentation"),
)
