"""Errors of translations: empty, copied, looping and in the wrong language."""

import pytest

from skipclm.data import language_id
from skipclm.evaluation import segment_errors
from skipclm.text import is_copy

LANGUAGES = ("de", "en", "tr", "zh")


@pytest.mark.parametrize(
    ("text", "empty"),
    [("", True), (" ?! ", True), ("\u3164\u200b", True), ("7", False), ("是", False), ("a", False)],
)
def test_emptiness(text, empty):
    assert segment_errors.is_empty(text) == empty


@pytest.mark.parametrize(
    ("hypothesis", "source", "copy"),
    [
        ("My mother sleeps.", "my  MOTHER sleeps.", True),
        ("My mother sleeps", "My mother sleeps.", False),
        ("Meine Mutter", "My mother", False),
        ("", "", False),
        ("My\u00ad mo\u200bther", "\ufeffmy mother", True),
        ("u\u0308ber", "über", True),
        ("", "\u200b", False),
    ],
)
def test_copies(hypothesis, source, copy):
    assert is_copy(hypothesis, source) == copy


@pytest.mark.parametrize(
    ("hypothesis", "loop"),
    [
        ("the cat the cat the cat the cat", True),
        ("the cat the cat the cat", False),
        ("sehr sehr sehr sehr gut", True),
        ("好好好好好", True),
        ("wait .....", False),  # has no words
        ("12,000,000,000,000 years, 1111 of them", False),
        ("a plain sentence of words", False),
    ],
)
def test_loops(hypothesis, loop):
    assert segment_errors.is_loop(hypothesis, "something else") == loop


def test_loops_of_clauses_and_numbers_are_detected():
    assert segment_errors.is_loop("I do not know what to say to you. " * 10, "something else")
    assert segment_errors.is_loop("12 12 12 12", "something else")
    assert not segment_errors.is_loop("1,000,000,000,000", "something else")


def test_loop_that_is_also_in_the_reference_does_not_count():
    assert not segment_errors.is_loop("no no no no", "no, no, no, no, no")


def test_loops_are_detected_quickly_in_long_texts():
    text = " ".join(f"word{i} of many" for i in range(3000))
    assert not segment_errors.is_loop(text, "")
    assert segment_errors.is_loop(text + " on and on" * 4, "")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Meine Mutter möchte ein blaues Bett kaufen.", "de"),
        ("My mother wants to buy a blue bed.", "en"),
        ("Annem mavi bir yatak almak istiyor.", "tr"),
        ("我妈妈想买一张蓝色的床。", "zh"),
    ],
)
def test_languages_are_distinguished(text, language):
    assert [language_id.is_wrong_language(text, expected, LANGUAGES) for expected in LANGUAGES] == [
        expected != language for expected in LANGUAGES
    ]


def test_text_without_letters_is_not_in_a_wrong_language():
    assert not language_id.is_wrong_language("10.30!", "de", LANGUAGES)


def test_identifier_knows_its_languages():
    assert language_id.knows("tr")
    assert not language_id.knows("xx")
    assert language_id.identifier_signature(("tr", "de")).startswith("among:de-tr|by:py3langid-")
