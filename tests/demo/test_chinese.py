"""Inflection in Chinese."""

from skipclm.demo.grammar import inflect


def test_classifiers(words):
    names = ("book", "horse", "skirt", "cow", "knife", "car", "letter")
    assert [inflect("zh", words[name], ("cl",), ()) for name in names] == list("本匹条头把辆封")


def test_adjectives(words):
    forms = [inflect("zh", words[name], (form,), ()) for name in ("new", "red") for form in ("attr", "is")]
    assert forms == ["新", "很新", "红色的", "是红色的"]
