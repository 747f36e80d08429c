"""Scores equal the sacrebleu command line's, digit for digit, and what can be worked out by hand."""

import json
import math
import subprocess
import sys

import pytest

from skipclm import metrics
from skipclm.errors import InputError

LATIN = (
    ["The cat sat on the mat, quietly.", "We'll see you at 10.30 tomorrow!", "Nothing here matches"],
    ["The cat sat quietly on the mat.", "We'll see you tomorrow at 10.30!", "A wholly other sentence"],
)
CHINESE = (["我今天去学校。", "猫坐在垫子上,很安静。"], ["我今天要去学校。", "猫安静地坐在垫子上。"])


def _command_line(folder, hypotheses, references, tokenizer, *options):
    for name, lines in (("hyp", hypotheses), ("ref", references)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-m", "bleu", "chrf"]
    command += ["--tokenize", tokenizer, "-w", "10", *options]
    return json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(("texts", "tokenizer"), [(LATIN, "13a"), (CHINESE, "zh")])
def test_scores_and_signatures_are_the_command_lines(tmp_path, texts, tokenizer):
    scores = metrics.score_corpus(*texts, ["bleu", "chrf"], tokenizer)
    expected = _command_line(tmp_path, *texts, tokenizer)
    assert [round(score["value"], 10) for score in scores.values()] == [entry["score"] for entry in expected]
    assert [score["signature"] for score in scores.values()] == [entry["signature"] for entry in expected]
    assert 0 < scores["bleu"]["value"] < 100


def test_bare_command_line_prints_the_same_numbers(tmp_path):
    scores = metrics.score_corpus(*CHINESE, ["bleu", "chrf"], "zh")
    printed = _command_line(tmp_path, *CHINESE, "zh", "-b")
    assert printed == [round(score["value"], 10) for score in scores.values()]


def test_bleu_worked_out_by_hand():
    # 1- to 4-grams that match: 5 of 5, 4 of 4, 3 of 3, 2 of 2; five words against six: exp(1 - 6/5)
    scores = metrics.score_corpus(["a b c d e"], ["a b c d e f"], ["bleu"], "13a")
    assert scores["bleu"]["value"] == pytest.approx(100 * math.exp(1 - 6 / 5))
    # 5 of 6, 3 of 5, 2 of 4, 1 of 3; equal lengths
    scores = metrics.score_corpus(["a b c d x f"], ["a b c d e f"], ["bleu"], "13a")
    assert scores["bleu"]["value"] == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_chinese_needs_its_tokenizer():
    by_character, by_space = (
        metrics.score_corpus(*CHINESE, ["bleu"], tokenizer)["bleu"] for tokenizer in ("zh", "13a")
    )
    assert by_character["value"] > 5 * by_space["value"]
    assert "tok:zh" in by_character["signature"]
    assert "tok:13a" in by_space["signature"]


def test_only_the_asked_metrics_in_their_order():
    assert list(metrics.score_corpus(*LATIN, ["chrf", "bleu"], "13a")) == ["chrf", "bleu"]
    assert list(metrics.score_corpus(*LATIN, ["chrf"], "13a")) == ["chrf"]


def test_empty_translations_score_zero():
    scores = metrics.score_corpus(["", ""], ["eins", "zwei"], ["bleu", "chrf"], "13a")
    assert [score["value"] for score in scores.values()] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], ["a", "b"], ["bleu"], "13a"), "1 translations and 2 references"),
        (([], [], ["bleu"], "13a"), "found none"),
        ((["a"], ["a"], ["blue"], "13a"), "among bleu, chrf, found 'blue'; write 'bleu' if that is meant"),
        ((["a"], ["a"], ["bleu"], "zhh"), "BLEU tokenizer among .*found 'zhh'; write 'zh' if"),
        ((["a"], ["a"], [], "13a"), "at least one metric"),
        ((["a"], ["a"], ["bleu", "bleu"], "13a"), "each metric once"),
    ],
)
def test_bad_input_is_explained(arguments, message):
    with pytest.raises(InputError, match=message):
        metrics.score_corpus(*arguments)


def test_tokenizers_that_need_a_package_are_refused_without_it(monkeypatch):
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="found 'flores200'; install sentencepiece"):
        metrics.check_bleu_tokenizer("flores200")
    metrics.check_bleu_tokenizer("zh")


def test_labels():
    assert [metrics.label(name) for name in ("bleu", "chrf", "other")] == ["BLEU", "chrF2", "other"]
