"""What the grid can tell: intervals of its cells, which cannot be told from the best, and how far the best flatters.

Cells are given as arrays (seeds, segments, k) by their triple of layers: what each segment of `valid` contributes.
"""

import math

import numpy as np
import pandas as pd

from skipclm.analysis import significance
from skipclm.analysis.selection import TRIPLE
from skipclm.evaluation.metrics import METRICS

Cells = dict[tuple[int, int, int], np.ndarray]


def cells_table(runs: list[dict], segments: list[dict[str, np.ndarray]], best: dict, metric: str) -> pd.DataFrame:
    """Return a row per pair and cell: its mean over seeds, sd, 95 % interval, and how it compares with the best.

    `runs` are the grid's scores, `segments` what each segment contributes, in the same order, and `best` the choice by
    pair. Columns: pair, the triple, metric, seeds, mean, sd, low, high, difference (from the best), p, p_corrected and
    like_best: whether the cell cannot be told from the best, p_corrected being 0.05 or more. It is p times the number
    of all pairs of cells (Bonferroni), since the best was not known before. Cells of which a run is lost are left out.
    """
    tables = []
    for pair, cells in _by_pair(runs, segments, metric).items():
        table = compare_cells(cells, _triple(best[pair]), metric)
        table.insert(0, "pair", pair)
        table.insert(4, "metric", metric)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def optimism_table(runs: list[dict], segments: list[dict[str, np.ndarray]], best: dict, metric: str) -> pd.DataFrame:
    """Return a row per pair: the best cell's value on `valid`, its `optimism` and what to expect on other text."""
    rows = []
    for pair, cells in _by_pair(runs, segments, metric).items():
        value, flattery = best[pair]["value"], optimism(cells, metric)
        expected = value - METRICS[metric].sign() * flattery
        rows.append({"pair": pair, "metric": metric, "value": value, "optimism": flattery, "expected": expected})
    return pd.DataFrame(rows)


def _by_pair(runs: list[dict], segments: list[dict[str, np.ndarray]], metric: str) -> dict[str, Cells]:
    found: dict[str, dict] = {}
    for run, measured in zip(runs, segments, strict=True):
        triple = tuple(run["layers"][name] for name in TRIPLE)
        found.setdefault(run["pair"], {}).setdefault(triple, []).append(measured.get(metric))
    whole = {pair: {t: s for t, s in cells.items() if all(e is not None for e in s)} for pair, cells in found.items()}
    return {pair: {triple: np.stack(seeds) for triple, seeds in cells.items()} for pair, cells in whole.items()}


def _triple(choice: dict) -> tuple[int, int, int]:
    return tuple(choice[key] for key in TRIPLE)


def compare_cells(cells: Cells, best: tuple[int, int, int], metric: str) -> pd.DataFrame:
    """Return the rows of `cells_table` for one pair."""
    measured = _resampled(cells, metric)
    best_scores, best_resampled = measured[best]
    rows = []
    for triple, (scores, resampled) in measured.items():
        segments = cells[triple].shape[1]
        low, high, _ = significance.interval(scores, resampled, segments)
        differences = scores - best_scores
        p = None if triple == best else significance.interval(differences, resampled - best_resampled, segments)[2]
        sd = scores.std(ddof=1) if len(scores) > 1 else float("nan")
        row = dict(zip(TRIPLE, triple, strict=True)) | {"seeds": len(scores), "mean": scores.mean(), "sd": sd}
        rows.append(row | {"low": low, "high": high, "difference": differences.mean(), "p": p})
    table = pd.DataFrame(rows)
    table["p_corrected"] = (table["p"].astype(float) * math.comb(len(cells), 2)).clip(upper=1.0)
    table["like_best"] = ~(table["p_corrected"] < 1 - significance.LEVEL)
    return table


def _resampled(cells: Cells, metric: str) -> dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]]:
    """Return for each cell the scores of its seeds (seeds,), and those of its resamples (resamples, seeds)."""
    total = METRICS[metric].total
    return {triple: significance.resampled_scores(total, cell) for triple, cell in cells.items()}


def optimism(cells: Cells, metric: str) -> float:
    """Return by how much the winner's score overstates what it will do on other text, in points of the metric.

    The winner's curse, by bootstrap: segments and seeds are drawn again, a winner is chosen among the cells, and its
    score there is set against its score on all there is. Above zero if the choice flatters. A rough estimate, some 20 %
    off on average where all cells are alike, and 0 for one cell.
    """
    if len(cells) == 1:
        return 0.0
    scores, sign = _resampled(cells, metric), METRICS[metric].sign()
    seeds = min(len(whole) for whole, _ in scores.values())
    drawn = np.random.default_rng(significance.SEED).integers(seeds, size=(significance.RESAMPLES, seeds))
    again = np.stack([np.take_along_axis(resampled, drawn, axis=1).mean(axis=1) for _, resampled in scores.values()])
    whole = np.array([each[:seeds].mean() for each, _ in scores.values()])
    winners = (sign * again).argmax(axis=0)
    return float((sign * (again[winners, np.arange(again.shape[1])] - whole[winners])).mean())


def winner_table(optimism: pd.DataFrame, summary: pd.DataFrame, variant: str | None) -> pd.DataFrame:
    """Set what was expected of each pair's best cell beside what a `variant` of its settings reached on test.

    The tables are those of `optimism_table` and `ablation_summary.summarise`. Columns: those of the former, variant,
    test, test_sd and overstated: by how much the value on `valid` was better than that on `test`. Empty where nothing
    was found.
    """
    found = summary[(summary["variant"] == variant) & (summary["split"] == "test")]
    optimism = optimism.assign(variant=variant)
    found = found[["pair", "metric", "mean", "sd"]].rename(columns={"mean": "test", "sd": "test_sd"})
    table = optimism.merge(found, how="left", on=["pair", "metric"])
    signs = [METRICS[name].sign() for name in table["metric"]]
    return table.assign(overstated=(table["value"] - table["test"]) * signs)


def to_text(cells: pd.DataFrame, winner: pd.DataFrame) -> str:
    """Say how sure the choice is: cells as good as the best, what to expect of it, and what it reached on test.

    The arguments are the tables of `cells_table` and `winner_table`.
    """
    lines = []
    for row in winner.itertuples():
        of_pair, name = cells[cells["pair"] == row.pair], METRICS[row.metric].label
        alike, others = int(of_pair["like_best"].sum()) - 1, len(of_pair) - 1
        if not others:
            continue  # there was no choice
        cells_in_words = "other cell" if others == 1 else "other cells"
        flatters = f"flatters itself by some {row.optimism:.1f} {name}: "
        if row.optimism < 0.05:  # none as printed, or below zero by chance
            flatters = "does not seem to flatter itself: "
        after = "" if pd.isna(row.test) else f"; {row.variant} has {row.test:.1f} on test"
        lines.append(
            f"{row.pair}: {alike} of {others} {cells_in_words} cannot be told from the best (p >= 0.05, corrected). "
            f"The best of so many {flatters}{row.expected:.1f} is to be expected on other text like valid{after}."
        )
    return "\n".join([*lines, ""])
