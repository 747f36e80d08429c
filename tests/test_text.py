"""Normal form and comparison of sentences."""

import pytest

from skipclm.text import key, tidy


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" one\ntwo\r\n\tthree\u2028four ", "one two three four"),
        ("a\x00b\x1bc\x85d", "a b c d"),
        ("u\u0308", "ü"),
        ("\ud800x", "x"),
        ("\ufeffone two\ufeff", "one two"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # the joiner is part of the spelling
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d🚀 ❤\ufe0f", "👩\u200d🚀 ❤\ufe0f"),
    ],
)
def test_text_becomes_one_line(text, line):
    assert tidy(text) == line


# A byte-order mark, zero-width space, non-joiner, joiner, soft hyphen, word joiner, marks of direction, a variation
# selector, a grapheme joiner, a Mongolian vowel separator, Hangul fillers, a tag and an interlinear annotation.
INVISIBLE = "\ufeff\u200b\u200c\u200d\u00ad\u2060\u200e\u202a\u2066\ufe0f\u034f\u180e\u3164\uffa0\U000e0041\ufff9"


@pytest.mark.parametrize("character", INVISIBLE)
@pytest.mark.parametrize("place", ["{}one two", "one two{}", "o{}ne two", "one {} two"])
def test_invisible_characters_do_not_change_the_key(character, place):
    assert key(tidy(place.format(character))) == "one two"


def test_marks_compose_across_invisible_characters():
    assert key("u\u200b\u0308ber") == "über"


@pytest.mark.parametrize(("one", "other"), [("one", "One"), ("one", "one."), ("Ａ", "A"), ("٣", "\u0600٣"), ("é", "e")])
def test_visible_differences_change_the_key(one, other):
    assert key(one) != key(other)
