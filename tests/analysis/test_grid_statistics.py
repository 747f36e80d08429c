"""Comparison of cells with the best one, and the optimism of the best score."""

import numpy as np
import pandas as pd
import pytest

from skipclm.analysis import grid_statistics, selection


def _cell(values):
    """Return contributions to a rate in per cent for values (seeds, segments)."""
    values = np.asarray(values, dtype=float)
    return np.stack([values, np.ones_like(values)], axis=-1)


def _cells(shifts, seeds=3, segments=200, spread=0.1):
    """Return cells that differ by their shifts, on segments of the same difficulty."""
    chance = np.random.default_rng(5)
    shared = chance.normal(0.5, 0.2, segments)
    return {
        (1, 1, 2 + n): _cell(shared + shift + chance.normal(0, spread, (seeds, segments)))
        for n, shift in enumerate(shifts)
    }


def test_table_separates_worse_cells_but_not_equal_ones():
    cells = _cells([0.0, 0.0, -0.2])
    table = grid_statistics.compare_cells(cells, (1, 1, 2), "comet")
    assert table["skip_target"].tolist() == [2, 3, 4]
    assert table["like_best"].tolist() == [True, True, False]
    assert table["difference"].tolist()[0] == 0
    assert table["difference"][2] == pytest.approx(-20, abs=2)
    assert table["p_corrected"].isna().tolist() == [True, False, False]
    assert table["p_corrected"][2] == pytest.approx(3 * table["p"][2])  # three cells have three pairs


def test_means_and_spreads_by_hand():
    table = grid_statistics.compare_cells({(1, 1, 2): _cell([[0.2] * 5, [0.4] * 5])}, (1, 1, 2), "comet")
    row = table.iloc[0]
    assert (row["seeds"], row["mean"], row["sd"]) == (2, pytest.approx(30), pytest.approx(20 / 2**0.5))
    assert row["low"] < 30 < row["high"]
    assert row["like_best"]
    one = grid_statistics.compare_cells({(1, 1, 2): _cell([[0.2, 0.4]])}, (1, 1, 2), "comet").iloc[0]
    assert np.isnan(one["sd"])


def test_optimism_is_high_for_equal_cells_and_low_for_a_clear_winner():
    equals = grid_statistics.optimism(_cells([0.0] * 8), "comet")
    clear_winner = grid_statistics.optimism(_cells([0.0] + [-0.4] * 7), "comet")
    assert equals > 0.3
    assert abs(clear_winner) < 0.15
    assert grid_statistics.optimism(_cells([0.0] * 8), "empty") > 0.3  # the best rate is the lowest
    assert grid_statistics.optimism(_cells([0.0]), "comet") == 0


@pytest.mark.slow
def test_equal_cells_seldom_differ_significantly():
    chance, shared = np.random.default_rng(2), np.random.default_rng(5).normal(0.5, 0.2, 100)
    told = 0
    for _ in range(60):
        cells = {(1, 1, 2 + n): _cell(shared + chance.normal(0, 0.1, (3, 100))) for n in range(8)}
        best = max(cells, key=lambda triple: cells[triple][..., 0].mean())
        told += not grid_statistics.compare_cells(cells, best, "comet")["like_best"].all()
    assert told <= 6


@pytest.mark.slow
def test_optimism_equals_the_loss_of_the_winner_on_other_text():
    """For many grids of equal cells, the mean estimate is close to the mean of the real loss."""
    chance, estimates, losses = np.random.default_rng(9), [], []
    for _ in range(60):
        qualities = chance.normal(0.5, 0.02, 6)
        values = {n: qualities[n] + chance.normal(0, 0.3, (1, 150)) for n in range(6)}
        cells = {(1, 1, 2 + n): _cell(rows) for n, rows in values.items()}
        means = {n: rows.mean() for n, rows in values.items()}
        winner = max(means, key=means.get)
        estimates.append(grid_statistics.optimism(cells, "comet"))
        losses.append(100 * (means[winner] - qualities[winner]))
    assert np.mean(losses) > 1
    assert np.mean(estimates) == pytest.approx(np.mean(losses), rel=0.35)


def test_tables_of_several_pairs_omit_diverged_cells():
    runs, segments = [], []
    for pair, cells in (("en-de", _cells([0.0, -0.2, 0.1])), ("en-tr", _cells([0.1, 0.0]))):
        for triple, cell in cells.items():
            for seed, rows in enumerate(cell, start=1):
                layers = dict(zip(selection.TRIPLE, triple, strict=True))
                runs.append({"pair": pair, "layers": layers, "seed": seed})
                lost = (pair, triple, seed) == ("en-de", (1, 1, 4), 2)
                segments.append({} if lost else {"comet": rows})
    choice = {"contrastive_layer": 1, "skip_source": 1, "skip_target": 2, "value": 50.0}
    best = {"en-de": choice, "en-tr": choice}
    table = grid_statistics.cells_table(runs, segments, best, "comet")
    assert list(zip(table["pair"], table["skip_target"], strict=True)) == [
        ("en-de", 2), ("en-de", 3), ("en-tr", 2), ("en-tr", 3)
    ]  # fmt: skip
    assert list(table.columns[:6]) == ["pair", "contrastive_layer", "skip_source", "skip_target", "metric", "seeds"]
    flattery = grid_statistics.optimism_table(runs, segments, best, "comet")
    assert flattery["expected"].tolist() == (flattery["value"] - flattery["optimism"]).tolist()


def test_winner_is_compared_with_its_score_on_test():
    rows = [("en-de", "bleu", 20.0, 0.5, 19.5), ("en-tr", "bleu", 10.0, 0.5, 9.5)]
    optimism = pd.DataFrame(rows, columns=["pair", "metric", "value", "optimism", "expected"])
    reached = [
        ("en-de", "test", "full", "bleu", 18.5, 0.3),
        ("en-de", "devtest", "full", "bleu", 3.0, 0.1),
        ("en-de", "test", "finetune", "bleu", 19.0, 0.1),
        ("en-de", "test", "full", "chrf", 50.0, 0.1),
    ]
    summary = pd.DataFrame(reached, columns=["pair", "split", "variant", "metric", "mean", "sd"])
    table = grid_statistics.winner_table(optimism, summary, "full").set_index("pair")
    none = grid_statistics.winner_table(optimism, summary, None)
    assert none[["variant", "test", "overstated"]].isna().all(axis=None)
    assert table.loc["en-de", ["value", "expected", "test", "test_sd", "overstated"]].tolist() == [
        20,
        19.5,
        18.5,
        0.3,
        1.5,
    ]
    assert table.loc["en-tr", ["test", "overstated"]].isna().all()
    cells = pd.DataFrame({"pair": ["en-de", "en-tr", "en-zh"] * 2, "like_best": True})[:-1]
    rows = pd.concat([table.reset_index(), table.reset_index()[:1].assign(pair="en-zh")])
    first, second = grid_statistics.to_text(cells, rows).splitlines()  # en-zh has only one cell
    assert first.startswith("en-de: 1 of 1 other cell cannot be told from the best")
    assert "The best of so many flatters itself by some 0.5 BLEU: 19.5 is" in first
    assert first.endswith("19.5 is to be expected on other text like valid; full has 18.5 on test.")
    assert second.endswith("9.5 is to be expected on other text like valid.")
    below = grid_statistics.to_text(cells, rows[:1].assign(optimism=-0.2, expected=20.2))
    assert "The best of so many does not seem to flatter itself: 20.2 is to be expected" in below
