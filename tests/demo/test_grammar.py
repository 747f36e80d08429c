"""Run with: pytest tests/test_demo_grammar.py."""

from skipclm.demo.grammar import inflect
from skipclm.demo.words import Lexeme


def test_a_word_is_its_own_plain_form():
    word = Lexeme("now", "phrases", {"en": ("now",)})
    assert inflect("en", word, (), ()) == "now"
