"""The summary of the ablation against means worked out by hand."""

import math

import pandas as pd
import pytest
from ablations import COMPARED, NAN, tidy_scores

from skipclm.analysis.ablation_summary import summarise
from skipclm.errors import InputError


def test_summary_by_hand():
    summary = summarise(tidy_scores({"full": [22.0, 24.0, 26.0], "base": [9.5], "lost": [NAN, NAN]}))
    columns = [
        "pair",
        "split",
        "variant",
        "metric",
        "mean",
        "sd",
        "seeds",
        "runs",
        "diverged",
        "failed",
        "sentences",
        "signature",
        "note",
        "reason",
    ]
    assert list(summary.columns) == columns + COMPARED[4:] + ["ceiling", "too_long", "context", "lines", "dropped"]
    assert list(summary["variant"]) == ["full", "base", "lost"]
    assert summary["mean"].tolist()[:2] == [24.0, 9.5]
    assert summary["sd"].tolist()[0] == 2.0  # squares 4 + 0 + 4, over n - 1 = 2
    assert summary["sd"].isna().tolist() == [False, True, True]
    assert math.isnan(summary["mean"][2])
    assert summary["seeds"].tolist() == [3, 1, 0]
    assert summary["runs"].tolist() == [3, 1, 2]


def check(pair="en-de", ceiling=93.1, changed=7, **facts):
    """Return the facts of a check of the test split."""
    scores = {"bleu": {"value": ceiling, "signature": "s"}}
    return {
        "pair": pair,
        "split": "test",
        "ceiling": scores,
        "changed": changed,
        "cut": [],
        "too_long": [],
        "context": 64,
    } | facts


def test_summary_has_ceilings_and_long_sentences():
    scores = pd.concat([tidy_scores({"a": [1.0]}, pair) for pair in ("en-de", "en-zh", "en-tr")])
    near, other = check("en-zh", ceiling=99.5), check("en-tr", ceiling=80.0, changed=0, context=None)
    checks = [check(too_long=[3, 9]), near, other]
    summary = summarise(scores, None, checks)
    assert summary["ceiling"].dropna().tolist() == [93.1]  # others: near 100, or not due to the tokenizer
    assert summary["too_long"].tolist() == [2, 0, 0]
    assert summary["context"].isna().tolist() == [False, False, True]


def test_summary_has_the_lines_of_the_test_set():
    counts = ["read", "blank", "long", "ratio", "duplicate", "overlap", "surplus"]
    rows = [
        ("en-de", "test", 1012, 2, 0, 0, 0, 5, 0),
        ("en-de", "news", 9, 0, 0, 0, 0, 1, 0),
        ("en-zh", "test", 500, 0, 0, 0, 0, 0, 0),
        ("en-tr", "test", 0, 0, 0, 0, 0, 0, 3),  # taken from train
    ]
    corpus = pd.DataFrame(rows, columns=["pair", "split", *counts])
    scores = pd.concat([tidy_scores({"a": [1.0]}, pair) for pair in ("en-de", "de-en", "en-zh", "en-tr", "tr-zh")])
    summary = summarise(scores, None, None, corpus)
    assert summary["lines"].tolist() == [1012, 1012, 500, pd.NA, pd.NA]
    assert summary["dropped"].dropna().tolist() == ["2 blank, 5 in train or valid too"] * 2
    assert summarise(scores)[["lines", "dropped"]].isna().all(axis=None)


def test_incomparable_scores_are_refused():
    mixed = pd.concat([tidy_scores({"full": [1.0]}), tidy_scores({"base": [1.0]}, signature="tok:zh")])
    with pytest.raises(InputError, match=r"tok:13a and tok:zh"):
        summarise(mixed)
