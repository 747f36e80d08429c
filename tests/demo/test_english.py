"""Inflection in English."""

import pytest

from skipclm.demo.english import add_s, with_article
from skipclm.demo.grammar import inflect


def test_articles(words):
    assert [with_article(phrase) for phrase in ("old hat", "book", "email")] == [
        "an old hat",
        "a book",
        "an email",
    ]
    assert inflect("en", words["umbrella"], ("a",), ()) == "an umbrella"
    assert inflect("en", words["umbrella"], ("a",), (words["red"],)) == "a red umbrella"


@pytest.mark.parametrize(
    "pair", ["book books", "watch watches", "box boxes", "bus buses", "play plays", "study studies", "go goes"]
)
def test_plurals_in_s(pair):
    singular, plural = pair.split()
    assert add_s(singular) == plural


@pytest.mark.parametrize(
    ("verb", "form", "expected"),
    [
        ("walk", "present", "goes for a walk"),
        ("have breakfast", "present", "has breakfast"),
        ("walk", "past", "went for a walk"),
        ("photograph", "participle", "taken photos"),
        ("write", "ing", "writing"),
        ("swim", "ing", "swimming"),
        ("visit", "past", "visited"),
    ],
)
def test_verbs(words, verb, form, expected):
    assert inflect("en", words[verb], (form,), (words["Anna"],)) == expected


def test_plural(words):
    nouns = ("knife", "tomato", "sheep", "hat")
    assert [inflect("en", words[name], ("pl",), ()) for name in nouns] == ["knives", "tomatoes", "sheep", "hats"]
