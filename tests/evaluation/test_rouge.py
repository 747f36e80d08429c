"""ROUGE: words of all scripts, and scores worked out by hand."""

import pytest

from skipclm.evaluation import rouge


def test_words_of_all_scripts_are_tokens():
    assert rouge.tokens("Übel, sagt ER: 10.30!", "de") == ["übel", "sagt", "er", "10", "30"]
    assert rouge.tokens("IŞIK İyi ılık", "tr") == ["ışık", "iyi", "ılık"]
    assert rouge.tokens("IS", "de") == ["is"]
    assert rouge.tokens("我今天去GPT4学校。", "zh") == [*"我今天去", "gpt4", *"学校"]
    assert rouge.tokens("...", "zh") == []
    assert rouge.tokens("हिन्दी में", "hi") == ["हिन्दी", "में"]
    assert rouge.tokens("Mu\u0308ller", "de") == ["müller"]


@pytest.mark.parametrize("kind", rouge.KINDS)
@pytest.mark.parametrize(
    ("text", "language"), [("我今天要去学校。", "zh"), ("Çok güzel bir gün", "tr"), ("Über Öl", "de")]
)
def test_identical_sentences_score_one(kind, text, language):
    assert rouge.scores([text], [text], kind, language).tolist() == [1.0]


def test_scores_worked_out_by_hand():
    # one common word of two and of four: precision 1/2, recall 1/4, harmonic mean 1/3
    assert rouge.scores(["rot grün"], ["rot und sehr blau"], "rouge1", "de")[0] == pytest.approx(1 / 3)
    # 我去 学校 against 我要去学校: two common bigrams, 去学 and 学校, of three and of four
    assert rouge.scores(["我去学校"], ["我要去学校"], "rouge2", "zh")[0] == pytest.approx(4 / 7)
    # the longest common subsequence has all four characters: precision 1, recall 4/5
    assert rouge.scores(["我去学校"], ["我要去学校"], "rougeL", "zh")[0] == pytest.approx(8 / 9)


def test_empty_texts_score_zero():
    assert rouge.scores(["", "a"], ["a", ""], "rouge1", "de").tolist() == [0.0, 0.0]


def test_signature_names_tokens_and_version():
    assert rouge.signature("zh").startswith("nrefs:1|case:lc|lang:zh|tok:unicode-words-cjk-chars|measure:f|version:")
