"""Language pairs are strings with a source and a target language."""

import json

from skipclm.pairs import Pair


def test_a_pair_has_two_languages_and_a_reverse():
    pair = Pair("en-de")
    assert (pair.source, pair.target, pair.languages) == ("en", "de", ("en", "de"))
    assert pair.reverse == "de-en"
    assert pair.reverse.reverse == pair


def test_a_pair_is_a_string():
    assert {Pair("en-de"): 1}["en-de"] == 1
    assert json.dumps([Pair("en-de")]) == '["en-de"]'
    assert f"{Pair('en-de')}/test" == "en-de/test"
