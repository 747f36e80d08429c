"""Detect input that is not plain text: headers, markup, quotes and escapes of file formats, wrong decoding.

If the input is clearly not plain text, an error is raised. If it might be correct text, there is only a warning.
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
# A region or script, as in en-US, eng_Latn and English (US), or the letter of a column, as in sentence_A.
_SUBTAG = re.compile(r"(?<=[a-z])[-_](?:[A-Z]{1,2}|[A-Z][a-z]{3})\b|\s*\([A-Z]{2}\)")
_ERROR_SHARE = 0.5  # a larger share of such sentences is an error
_QUOTED_SHARE = 0.9  # a larger share of sentences in quotes is CSV and not dialogue
_MIN_SENTENCES = 5  # with fewer sentences, the share of quoted ones is not used

# Characters of Windows-1252 and their bytes, where Latin-1 has control characters. Five bytes have no character.
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
    """A sign that a sentence is not plain text: a test, and the words of the warning."""

    matches: Callable[[str], object]
    description: str
    remedy: str


def check_header(row: tuple[str, str], names: Collection[str]) -> None:
    """Raise an `InputError` if the first row of a file is a header.

    `names` are the names of the pair's languages in the config and in the source.
    """
    known = _HEADERS | {word for name in names for word in _words(name)}
    are_names = all(0 < len(words) <= 3 and words <= known for words in map(_words, row))
    are_numbers = row == ("0", "1")  # the column names that pandas writes by default
    if are_numbers or (are_names and len({cell.strip().casefold() for cell in row}) > 1):
        raise InputError(
            f"expected sentences from the first line on, found the header {' / '.join(row)}; remove it (tail -n +2)"
        )


def check_text(sentences: Sequence[str]) -> list[str]:
    """Return a warning for each sign that raw sentences of one language are not plain text, with the first example.

    Raises an `InputError` if most of the sentences are markup or contain null characters.
    """
    numbered = [(number, text) for number, text in enumerate(sentences, start=1) if text.strip()]
    _check_share(
        numbered,
        lambda text: "\0" in text,
        "null characters, as in UTF-16 or UTF-32 that was read as UTF-8,",
        "convert the text to UTF-8",
    )
    _check_share(numbered, _TAGGED.fullmatch, "tags", "take the sentences out of the markup")
    warnings = []
    for sign in (*_SIGNS, _csv_sign(numbered)):
        matching = [(number, text) for number, text in numbered if sign.matches(text)]
        if matching:
            number, text = matching[0]
            warnings.append(
                f"{len(matching)} of {len(sentences)} sentences {sign.description}, first number {number}: "
                f"{_shorten(text)}; {sign.remedy}"
            )
    return warnings


def _check_share(
    numbered: list[tuple[int, str]], matches: Callable[[str], object], description: str, remedy: str
) -> None:
    """Raise an `InputError` if most of the numbered sentences match."""
    matching = [(number, text) for number, text in numbered if matches(text)]
    if len(matching) > _ERROR_SHARE * len(numbered):
        number, text = matching[0]
        raise InputError(
            f"expected sentences, found {description} in {len(matching)} of {len(numbered)}, first in number {number}: "
            f"{_shorten(text)}; {remedy}"
        )


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _words(cell: str) -> set[str]:
    """Return the words of a column name, without trailing digits; an empty set if it ends like a sentence."""
    name = _SUBTAG.sub("", key(tidy(cell))).casefold()
    words = {word.rstrip("0123456789") for word in re.findall(r"[^\W_]+", name)}
    return set() if cell.rstrip().endswith((".", "!", "?", "。")) else words


def _is_mojibake(text: str) -> bool:
    """Tell whether a text is UTF-8 that was wrongly decoded as Latin-1 or Windows-1252.

    This is the case if encoding the text in Latin-1 or Windows-1252 gives valid UTF-8.
    """
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
    """Tell whether a text has the form of a quoted CSV field: in double quotes, with each inner quote doubled."""
    text = text.strip()
    return len(text) > 2 and text[0] == text[-1] == '"' and '"' not in text[1:-1].replace('""', "")


def _csv_sign(numbered: list[tuple[int, str]]) -> _Sign:
    """Return the sign of CSV: any quoted field if nearly all sentences are quoted, else one with doubled quotes."""
    count = sum(_is_quoted(text) for _, text in numbered)
    is_csv = len(numbered) >= _MIN_SENTENCES and count > _QUOTED_SHARE * len(numbered)

    def matches(text: str) -> bool:
        """Tell whether a sentence is probably a quoted field of CSV."""
        return _is_quoted(text) and (is_csv or '""' in text.strip()[1:-1])

    return _Sign(matches, "are in quotes of CSV", "write the file without them, by a reader of CSV")


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
