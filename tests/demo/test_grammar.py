"""Inflection in all languages."""

from skipclm.demo.grammar import inflect
from skipclm.demo.words import Lexeme


def test_plain_form_of_a_word():
    word = Lexeme("now", "phrases", {"en": ("now",)})
    assert inflect("en", word, (), ()) == "now"
