"""The table of the grid and the choice of the best cell."""

import json
import random

import pytest

from skipclm.analysis import selection
from skipclm.errors import InputError
from skipclm.runtime import tsv


def _run(triple, seed, bleu, chrf=50.0, pair="en-de", **changes):
    """Return the result of one run; `bleu=None` is a diverged run."""
    scores = {"bleu": bleu, "chrf": chrf}
    metrics = {name: {"value": value, "signature": f"{name}|sig"} for name, value in scores.items()}
    run = {
        "pair": pair,
        "stage": "grid",
        "run": "c{}-s{}-t{}".format(*triple),
        "seed": seed,
        "status": "diverged" if bleu is None else "ok",
        "layers": dict(zip(selection.TRIPLE, triple, strict=True)),
        "split": "valid",
        "sentences": 300,
        "metrics": {} if bleu is None else metrics,
        "train_steps": 300,
        "train_loss": 2.1,
        "train_seconds": 12.3,
    }
    return run | changes


def _best(*runs, **options):
    return selection.select_best(selection.grid_scores(list(runs), ["bleu", "chrf"]), **options)


def _triple(entry):
    return tuple(entry[key] for key in selection.TRIPLE)


def test_grid_scores_is_tidy_and_sorted():
    runs = [_run((10, 1, 4), 1, 3.0, pair="en-tr"), _run((9, 2, 3), 2, 2.0), _run((9, 2, 3), 1, None)]
    frame = selection.grid_scores(runs, ["bleu", "chrf"])
    assert list(frame.columns) == [
        *("pair", "contrastive_layer", "skip_source", "skip_target", "seed", "status", "bleu", "chrf"),
        *("bleu_signature", "chrf_signature", "sentences", "train_steps", "train_loss", "train_seconds", "micro_batch"),
        "reason",
    ]
    assert list(frame["pair"]) == ["en-tr", "en-de", "en-de"]  # in the given order, not by alphabet
    assert list(frame["seed"]) == [1, 1, 2]
    assert frame.loc[1, ["bleu", "chrf", "bleu_signature"]].isna().all()  # diverged: empty, never 0
    assert frame.loc[2, "bleu_signature"] == "bleu|sig"


def test_grid_scores_refuses_the_test_set_and_missing_metrics():
    with pytest.raises(InputError, match="scored on test"):
        selection.grid_scores([_run((1, 1, 2), 1, 1.0, split="test")], ["bleu"])
    run = _run((1, 1, 2), 1, 1.0)
    del run["metrics"]["chrf"]
    with pytest.raises(InputError, match=r"expected chrf .* found bleu"):
        selection.grid_scores([run], ["bleu", "chrf"])


def test_best_cell_has_the_highest_mean_over_seeds():
    best = _best(
        *(_run((3, 1, 4), seed, bleu) for seed, bleu in ((1, 20.0), (2, 22.0))),
        *(_run((3, 2, 4), seed, bleu) for seed, bleu in ((1, 23.0), (2, 18.0))),
        *(_run((2, 1, 3), seed, bleu) for seed, bleu in ((1, 30.0), (2, None))),
    )
    expected = {
        "contrastive_layer": 3,
        "skip_source": 1,
        "skip_target": 4,
        "metric": "bleu",
        "value": 21.0,
        "seeds": 2,
        "runner_up": {"contrastive_layer": 3, "skip_source": 2, "skip_target": 4, "value": 20.5},
        "margin": 0.5,
        "selected_on": "en-de",
        "cells": 2,
        "diverged": [{"contrastive_layer": 2, "skip_source": 1, "skip_target": 3}],
        "failed": [],
    }
    assert best == {"en-de": expected}
    assert json.loads(json.dumps(best)) == best


@pytest.mark.parametrize(
    ("winner", "loser", "chrf"),
    [
        ((9, 1, 9), (1, 1, 2), (51.0, 50.0)),  # higher chrF beats the smaller change
        ((9, 5, 7), (1, 1, 4), (50.0, 50.0)),  # the shorter skip
        ((2, 5, 7), (3, 1, 3), (50.0, 50.0)),  # the lower contrastive layer
        ((3, 1, 3), (3, 2, 4), (50.0, 50.0)),  # the lower source
    ],
)
def test_ties(winner, loser, chrf):
    runs = [_run(winner, 1, 20.0, chrf[0]), _run(loser, 1, 20.0, chrf[1])]
    for ordered in (runs, runs[::-1]):
        entry = _best(*ordered)["en-de"]
        assert _triple(entry) == winner
        assert entry["margin"] == 0


def test_ties_do_not_depend_on_the_order_of_seeds():
    values = [0.1, 0.2, 0.3, 1e9, 0.7]  # a plain sum depends on their order
    for attempt in range(5):
        shuffled = random.Random(attempt).sample(values, len(values))
        runs = [_run((3, 1, 4), seed, value) for seed, value in enumerate(values)]
        runs += [_run((2, 1, 4), seed, value) for seed, value in enumerate(shuffled)]
        entry = _best(*runs)["en-de"]
        assert entry["margin"] == 0
        assert entry["contrastive_layer"] == 2


def test_another_metric_can_select():
    runs = [_run((3, 1, 4), 1, 20.0, 40.0), _run((2, 1, 4), 1, 19.0, 41.0)]
    assert _best(*runs, metric="chrf")["en-de"]["contrastive_layer"] == 2
    with pytest.raises(InputError, match="column 'chrf'"):
        selection.select_best(selection.grid_scores(runs, ["bleu"]), "chrf")


def test_pair_outside_the_grid_uses_the_layers_of_another():
    runs = [_run((3, 1, 4), 1, 20.0, pair="en-tr"), _run((2, 1, 4), 1, 19.0)]
    best = _best(*runs, pairs=["en-zh", "en-de", "en-tr"])
    assert list(best) == ["en-zh", "en-de", "en-tr"]
    assert best["en-zh"] == best["en-de"]
    assert best["en-zh"]["selected_on"] == "en-de"  # the first of the pairs that was searched
    assert best["en-tr"]["contrastive_layer"] == 3


FAILED = {"status": "failed", "reason": "RuntimeError: out of memory", "metrics": {}}


def test_failed_run_is_a_row_with_its_reason_and_its_cell_is_not_chosen():
    runs = [_run((3, 1, 4), 1, 30.0), _run((3, 1, 4), 2, None, **FAILED)]
    runs += [_run((2, 1, target), seed, 20.0 + target) for target in (3, 4, 5) for seed in (1, 2)]
    scores = selection.grid_scores(runs, ["bleu"])
    assert list(scores.iloc[-1][["seed", "status", "reason"]]) == [2, "failed", "RuntimeError: out of memory"]
    assert scores["bleu"].isna().sum() == 1
    assert list(selection.cell_scores(scores, "bleu")["lost"]) == ["", "", "", "failed"]
    best = selection.select_best(scores, allow_missing=0.25)
    assert best["en-de"]["failed"] == [{"contrastive_layer": 3, "skip_source": 1, "skip_target": 4}]
    assert _triple(best["en-de"]) == (2, 1, 5)
    assert best["en-de"]["cells"] == 3
    assert "ahead of the next; of 1 more a run failed" in selection.to_text(best, {"en-de": "German"})
    with pytest.raises(InputError, match=r"at most 20% of the cells .* 1 of 4 failed \(RuntimeError: out of memory\)"):
        selection.select_best(scores, allow_missing=0.2)


def test_cell_with_a_diverged_and_a_failed_seed_is_not_missing():
    runs = [_run((3, 1, 4), 1, None), _run((3, 1, 4), 2, None, **FAILED)]
    runs += [_run((2, 1, 3), seed, 20.0) for seed in (1, 2)]
    best = _best(*runs)["en-de"]
    assert (len(best["diverged"]), best["failed"]) == (1, [])


def test_choice_as_text():
    best = _best(_run((3, 1, 4), 1, 20.0), _run((2, 1, 3), 1, 18.5), pairs=["en-de", "en-zh"])
    assert selection.to_text(best, {"en-de": "English to German", "en-zh": "English to Chinese"}) == (
        "Best layers\n"
        "English to German (en-de): contrastive layer 3, skip 1 to 4; BLEU 20.0 on valid, best of 2 cells, "
        "1.5 ahead of the next\n"
        "English to Chinese (en-zh): those of en-de\n"
    )


def test_one_cell_has_no_runner_up():
    entry = _best(_run((3, 1, 4), 1, 20.0))["en-de"]
    assert (entry["runner_up"], entry["margin"], entry["cells"]) == (None, None, 1)
    assert selection.to_text({"en-de": entry}, {"en-de": "German"}).endswith("BLEU 20.0 on valid, the only cell\n")


def test_no_usable_cell_is_an_error():
    with pytest.raises(InputError, match="one cell for en-de"):
        _best(_run((3, 1, 4), 1, None))
    with pytest.raises(InputError, match="run the grid first"):
        _best()


def test_choice_is_read_back(tmp_path):
    runs = [_run((3, 1, 4), 1, 0.1 + 0.2), _run((2, 1, 4), 1, 0.3), _run((1, 1, 4), 1, None)]
    scores = selection.grid_scores(runs, ["bleu", "chrf"])
    tsv.write(tmp_path / "scores.tsv", scores)
    assert selection.select_best(tsv.read(tmp_path / "scores.tsv")) == selection.select_best(scores)


def test_ablation_scores_keep_the_given_order():
    runs = [
        _run((0, 0, 0), seed, bleu, pair=pair, run=variant, split="test")
        for pair in ("en-tr", "en-de")
        for variant, seed, bleu in (("full", 2, 2.0), ("full", 1, 1.0), ("base", 1, None))
    ]
    frame = selection.ablation_scores(runs, ["chrf", "bleu"])
    assert list(frame.columns) == [
        "pair",
        "split",
        "variant",
        "seed",
        "metric",
        "value",
        "signature",
        "status",
        "note",
        "sentences",
    ]
    assert list(frame["pair"].unique()) == ["en-tr", "en-de"]
    first = frame[:6].drop(columns=["pair", "split", "signature", "note", "sentences"]).astype(object).values.tolist()
    assert first[:4] == [
        ["full", 1, "chrf", 50.0, "ok"],
        ["full", 1, "bleu", 1.0, "ok"],
        ["full", 2, "chrf", 50.0, "ok"],
        ["full", 2, "bleu", 2.0, "ok"],
    ]
    assert frame.loc[4:5, ["value", "signature"]].isna().all(axis=None)
    assert list(frame.loc[4:5, "status"]) == ["diverged", "diverged"]
    further = [run | {"split": "devtest"} for run in runs]
    both = selection.ablation_scores([*runs, *further], ["chrf", "bleu"])
    assert list(both["split"]) == ["test"] * len(frame) + ["devtest"] * len(frame)


def test_scores_of_another_run_are_refused():
    runs = [_run((1, 1, 2), 1, 20.0), _run((1, 1, 2), 1, 20.0)]
    with pytest.raises(InputError, match="found those of en-de valid c1-s1-t2 1 twice"):
        selection.grid_scores(runs, ["bleu"])
    with pytest.raises(InputError, match="found those of en-de valid c1-s1-t2 1 twice"):
        selection.ablation_scores(runs, ["bleu"])


def test_reverse_pair_uses_the_layers_of_its_pair():
    runs = [_run((1, 1, 2), 1, 20.0, pair="en-tr"), _run((1, 1, 3), 1, 20.0, pair="en-de")]
    scores = selection.grid_scores(runs, ["bleu"])
    best = selection.select_best(scores, "bleu", ["en-tr", "en-de", "de-en", "zh-en"])
    assert [choice["selected_on"] for choice in best.values()] == ["en-tr", "en-de", "en-de", "en-tr"]


def test_metric_that_did_not_run_is_noted_and_selects_nothing():
    run = _run((1, 1, 2), 1, 20.0)
    run["metrics"]["comet"] = {"value": None, "signature": None, "not_run": "no model is staged"}
    row = selection.ablation_scores([run | {"run": "full"}], ["comet"]).iloc[0]
    assert (row["note"], row["status"]) == ("no model is staged", "ok")
    assert row[["value", "signature"]].isna().all()
    with pytest.raises(InputError, match="expected comet for every run of the grid"):
        selection.select_best(selection.grid_scores([run], ["comet"]), "comet")


@pytest.mark.parametrize("reason", ["RuntimeError: a\tb", "killed\rby\x85a\u2028limit", "Tab\tat: line\n 3"])
def test_reason_with_tabs_and_line_breaks_fits_a_cell(tmp_path, reason):
    lost = {"status": "failed", "reason": reason, "metrics": {}}
    grid = selection.grid_scores([_run((1, 1, 2), 1, 5.0), _run((1, 1, 3), 1, 5.0, **lost)], ["bleu"])
    absent = {"comet": {"value": None, "signature": None, "not_run": reason}}
    runs = [
        _run((1, 1, 2), 1, 5.0, run="08", split="test", metrics=absent),
        _run((1, 1, 2), 2, 1.0, split="test", **lost),
    ]
    ablation = selection.ablation_scores(runs, ["comet"])
    for table, column, count in ((grid, "reason", 1), (ablation, "note", 2)):
        tsv.write(tmp_path / "a.tsv", table)
        assert tsv.read(tmp_path / "a.tsv")[column].dropna().tolist() == [" ".join(reason.split())] * count
