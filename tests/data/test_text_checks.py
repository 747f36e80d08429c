"""Checks of text: headers and markup are refused, probable non-text causes warnings."""

import csv
import io
from html import escape

import pytest

from skipclm.data.text_checks import check_header, check_text
from skipclm.demo import generator
from skipclm.errors import InputError

TEXT = [
    "He said nothing.",
    'She said "yes".',
    "AT&T & others; 3 < 4 and 5 > 2.",
    "C:\\users is a folder.",
    "“Gut”, sagt er.",
]


@pytest.mark.parametrize(
    "row",
    [
        ("source", "target"),
        ("en", "de"),
        ("English", "German"),
        ("EN", "Deutsch "),
        ("eng_Latn", "deu_Latn"),
        ("source_text", "target text"),
        ("sentence1", "sentence2"),
        ('"src"', '"tgt"'),
        ("text (en)", "text (de)"),
        ("\u200bsource", "target"),
        ("Quelle", "Ziel"),
        ("Text", "Übersetzung"),
        ("English (US)", "German (DE)"),
        ("sentence_A", "sentence_B"),
        ("0", "1"),
    ],
)
def test_header_is_refused(row):
    with pytest.raises(InputError, match=r"expected sentences from the first line on, found the header .*tail"):
        check_header(row, ["en", "de", "eng_Latn", "deu_Latn"])


@pytest.mark.parametrize(
    "row",
    [
        ("Source.", "Ziel."),
        ("English", "Sprache"),
        ("en sentence 0", "de sentence 0"),
        ("The source text is in English", "Der Text ist auf Englisch"),
        ("", ""),
        ("1", "2"),
        ("a", "A"),
        ("Text", "Text"),
        ("Original", "original"),
        ("Go.", "Geh."),
    ],
)
def test_sentence_is_not_a_header(row):
    check_header(row, ["en", "de"])


def test_ordinary_text_causes_no_warning():
    assert check_text(TEXT) == []
    for language in generator.LANGUAGES:
        assert check_text([row[language] for row in generator.generate(500, 1)]) == []
    assert check_text([]) == []
    assert check_text(["", " "]) == []


def as_csv(text, quoting=csv.QUOTE_MINIMAL):
    """Return a text as a field of a CSV file."""
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t", quoting=quoting, lineterminator="").writerow([text])
    return stream.getvalue()


def latin(text):
    """Return UTF-8 text decoded as Latin-1."""
    return text.encode().decode("latin-1")


def windows(text):
    """Return UTF-8 text decoded as Windows-1252."""
    return text.encode().decode("cp1252")


@pytest.mark.parametrize(
    ("sentence", "description"),
    [
        (latin("Grüße aus Köln"), "UTF-8 that was read as"),
        (latin("我不知道。"), "UTF-8 that was read as"),
        (windows("It’s good – €5"), "UTF-8 that was read as"),
        (windows("Çok güzel"), "UTF-8 that was read as"),
        ("Gr\ufffd\ufffde", r"U\+FFFD"),
        ("a\x00b", "control characters"),
        ("a\x1b[0m", "control characters"),
        ("a \ud83d", "control characters"),
        ('<seg id="1">One.</seg>', "tags"),
        ("One <b>two</b>", "tags"),
        ("</p>", "tags"),
        ('<?xml version="1.0"?>', "tags"),
        (escape('Tom\'s "cat"'), "HTML entities"),
        ("it &apos;s &#91; one &#93;", "HTML entities"),
        ("a&nbsp;b", "HTML entities"),
        ("Gr\\u00fc\\u00dfe", "escapes"),
        (as_csv('He said "hi".'), "quotes of CSV"),
        (as_csv('"Hi"'), "quotes of CSV"),
        ("trans@@ lation", "marks of a tokenizer"),
        ("▁One ▁two", "marks of a tokenizer"),
        ("the trans ##lation", "marks of a tokenizer"),
        ("good ￭.", "marks of a tokenizer"),
        ("-LRB- one -RRB-", "marks of a tokenizer"),
        ("One.\\nTwo.", "escapes"),
    ],
)
def test_probable_non_text_is_counted_and_shown(sentence, description):
    (warning,) = check_text([*TEXT, sentence, "", sentence])
    assert warning.startswith("2 of 8 sentences ")
    assert description.replace("\\", "") in warning
    assert f"first number 6: {sentence[:60]!r}" in warning


def test_quotes_are_csv_if_nearly_all_sentences_have_them():
    quoted = [as_csv(f"Line {number}", csv.QUOTE_ALL) for number in range(20)]
    assert check_text(quoted)[0].startswith("20 of 20 sentences are in quotes of CSV")
    assert check_text([*quoted, *TEXT]) == []  # ordinary dialogue


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (["<doc>", '<seg id="1">One.</seg>', '<seg id="2">Two.</seg>', "Three."], r"tags in 3 of 4, first in number 1"),
        (['<tuv xml:lang="en"><seg>One.</seg></tuv>', ""], "tags in 1 of 1"),
        (["O\0n\0e\0", "T\0w\0o\0", "Three"], "null characters, .*UTF-16"),
    ],
)
def test_markup_and_utf16_are_refused(sentences, message):
    with pytest.raises(InputError, match=message):
        check_text(sentences)


def test_warning_is_one_line_without_tabs():
    (warning,) = check_text(["a <b>\t\u2028\x85 c</b>" + "d" * 99, "e", "f"])
    assert len(warning.splitlines()) == 1
    assert "\t" not in warning
    assert len(warning) < 200


@pytest.mark.parametrize("row", [("eng", "deu"), ("en-US", "de-DE"), ("eng_Latn", "zho_Hans"), ("en_US", "tr_TR")])
def test_header_of_language_codes_is_refused(row):
    with pytest.raises(InputError, match="found the header"):
        check_header(row, ["en", "de", "tr", "zh"])


@pytest.mark.parametrize("row", [("Go!", "Los!"), ("No", "Non"), ("OK", "OK"), ("Yes", "Ja")])
def test_one_word_sentence_is_not_a_header(row):
    check_header(row, ["en", "de", "tr", "zh"])
