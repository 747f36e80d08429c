"""Legends below the tables."""

import pandas as pd
from ablations import NAN, compared, tidy_scores

from skipclm.analysis.ablation_summary import summarise
from skipclm.report import tables


def test_signatures_name_the_pairs_only_where_they_differ():
    differ = pd.concat([tidy_scores({"a": [1.0]}), tidy_scores({"a": [1.0]}, pair="en-zh", signature="tok:zh")])
    markdown = tables.to_markdown(summarise(differ))
    assert "- BLEU (en-de): `nrefs:1|tok:13a`\n- BLEU (en-zh): `tok:zh`" in markdown


def test_one_seed_has_no_spread():
    markdown = tables.to_markdown(summarise(tidy_scores({"a": [1.0], "b": [2.0]})))
    assert "BLEU on the test split of 500 sentences, one training seed; best" in markdown
    assert "±" not in markdown
    assert "diverged" not in markdown


def test_untrained_runs_have_no_spread():
    scores = pd.concat(
        [tidy_scores({"full": [1.0, 3.0]}), tidy_scores({"base": [2.0, 2.0]}).assign(status="untrained")]
    )
    summary = summarise(scores)
    assert summary["mean"].tolist() == [2.0, 2.0]
    assert summary["sd"].isna().tolist() == [False, True]
    assert summary["seeds"].tolist() == [2, 2]
    assert "over 2 training seeds (without ±: untrained); best" in tables.to_markdown(summary)


def test_failed_and_diverged_runs_are_distinguished():
    scores = tidy_scores({"full": [22.0, NAN], "skip_only": [NAN, NAN], "base": [1.0, 1.0]})
    scores.loc[scores["status"] == "diverged", ["status", "note"]] = ["failed", "RuntimeError: out of memory"]
    summary = summarise(scores)
    assert summary["failed"].tolist() == [1, 2, 0]
    assert summary["note"].isna().all()
    markdown = tables.to_markdown(summary)
    assert "–: failed. (k/n): only k of n seeds have a score, since the others diverged, failed or the" in markdown
    assert "Failed: en-de full, en-de skip only (RuntimeError: out of memory)." in markdown
    scores.loc[(scores["variant"] == "skip_only") & (scores["seed"] == 2), "note"] = "killed"
    assert "en-de skip only (RuntimeError: out of memory; killed)." in tables.to_markdown(summarise(scores))


def test_baseline_with_a_failed_run_is_named():
    scores = tidy_scores({"full": [22.0, 23.0], "finetune": [21.0, NAN]})
    significance = compared(full=(NAN, None))
    legend = "Not compared with finetune, of which a run is lost: en-de."
    assert legend in tables.to_markdown(summarise(scores, significance))
    whole = tidy_scores({"full": [22.0, 23.0], "finetune": [21.0, 21.0]})
    assert "Not compared" not in tables.to_markdown(summarise(whole, significance))


def test_legend_states_that_no_difference_was_found():
    summary = summarise(tidy_scores({"full": [3.0], "finetune": [2.0]}), compared(full=(0.3, None)))
    assert "No difference from finetune was found to be more than chance" in tables.to_markdown(summary)


def test_legend_states_that_less_is_better():
    summary = summarise(tidy_scores({"full": [60.0], "base": [99.0]}, metric="ter"))
    assert "best mean per column in bold. Lower TER is better." in tables.to_markdown(summary)
    assert "**60.0**" in tables.to_markdown(summary)


def test_chance_over_seeds_is_named_only_with_several_seeds():
    scores = tidy_scores({"full": [3.0, 3.1], "finetune": [2.0, 2.1]})
    markdown = tables.to_markdown(summarise(scores, compared(full=(0.01, "better"))))
    assert "(p < 0.05 over segments and training seeds, Holm-corrected over the table)" in markdown


def test_metric_that_did_not_run_is_named_with_the_reason():
    scores = tidy_scores({"full": [2.0]})
    absent = tidy_scores({"full": [NAN]}, metric="comet").assign(status="ok", note="no model is staged")
    markdown = tables.to_markdown(summarise(pd.concat([scores, absent])))
    assert "| full | **2.0** | – |" in markdown
    assert "COMET was not run: no model is staged." in markdown
    assert "diverged" not in markdown


def test_legend_has_ceilings_and_too_long_sentences():
    checks = [
        {
            "pair": "en-de",
            "split": "test",
            "ceiling": {"bleu": {"value": 93.14, "signature": "s"}},
            "changed": 5,
            "too_long": [7, 300],
            "context": 64,
        }
    ]
    summary = summarise(pd.concat([tidy_scores({"a": [1.0]}), tidy_scores({"a": [1.0]}, "en-zh")]), None, checks)
    for show in (tables.to_markdown, tables.to_latex, tables.to_html, tables.to_text):
        text = " ".join(show(summary).split())
        assert "A perfect model scores BLEU 93.1 (en-de): the tokenizer cannot write the references as they are" in text
        assert "2 of 500 sentences of en-de are longer than the model reads (64 tokens): their translations" in text
        assert "sentences of en-zh" not in text
    assert "ceiling" not in tables.to_markdown(summarise(tidy_scores({"a": [1.0]})))


def test_legend_has_the_lines_that_are_not_scored():
    counts = {"read": 510, "blank": 3, "long": 0, "ratio": 0, "duplicate": 0, "overlap": 7, "surplus": 0}
    rows = [{"pair": "en-de", "split": "test"} | counts, {"pair": "en-zh", "split": "test"} | dict.fromkeys(counts, 0)]
    scores = pd.concat([tidy_scores({"a": [1.0]}), tidy_scores({"a": [1.0]}, "en-zh")])
    summary = summarise(scores, None, None, pd.DataFrame(rows))
    for show in (tables.to_markdown, tables.to_latex, tables.to_html, tables.to_text):
        text = " ".join(show(summary).split())
        assert "Of en-de, 500 of 510 lines are scored (left out: 3 blank, 7 in train or valid too)." in text
        assert "Of en-zh" not in text
    assert "left out" not in tables.to_markdown(summarise(scores))
