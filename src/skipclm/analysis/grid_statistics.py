"""Statistics of the grid: confidence intervals of the cells, tests against the best cell, and its selection bias.

`Cells` maps the triple of layers of a cell to an array (seeds, segments, k): the k sufficient statistics of each
segment of `valid`, for each seed.
"""

import math

import numpy as np
import pandas as pd

from skipclm.analysis import significance
from skipclm.analysis.selection import TRIPLE
from skipclm.evaluation.metrics import METRICS

Cells = dict[tuple[int, int, int], np.ndarray]


def cells_table(runs: list[dict], segments: list[dict[str, np.ndarray]], best: dict, metric: str) -> pd.DataFrame:
    """Return one row per pair and cell: the mean over seeds, sd, 95 % confidence interval and a test against the best.

    `runs` are the scores of the grid runs; `segments` are their statistics per segment by metric, in the same order.
    `best` maps each pair to its selected cell. Columns: pair, the triple, metric, seeds, mean, sd, low, high,
    difference (from the best cell), p, p_corrected, like_best. p_corrected is p times the number of all pairs of cells
    (Bonferroni), because the best cell is not fixed in advance. like_best is true if p_corrected is 0.05 or more: the
    cell does not differ significantly from the best. Cells with a diverged or failed run are left out.
    """
    tables = []
    for pair, cells in _cells_by_pair(runs, segments, metric).items():
        table = compare_cells(cells, _triple(best[pair]), metric)
        table.insert(0, "pair", pair)
        table.insert(4, "metric", metric)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def optimism_table(runs: list[dict], segments: list[dict[str, np.ndarray]], best: dict, metric: str) -> pd.DataFrame:
    """Return one row per pair: the best cell's score on `valid`, its `optimism` and the expected score on new text.

    The arguments are those of `cells_table`. Columns: pair, metric, value, optimism, expected.
    """
    rows = []
    for pair, cells in _cells_by_pair(runs, segments, metric).items():
        value, bias = best[pair]["value"], optimism(cells, metric)
        expected = value - METRICS[metric].sign() * bias
        rows.append({"pair": pair, "metric": metric, "value": value, "optimism": bias, "expected": expected})
    return pd.DataFrame(rows)


def _cells_by_pair(runs: list[dict], segments: list[dict[str, np.ndarray]], metric: str) -> dict[str, Cells]:
    """Return the cells of each pair for which all runs have the metric."""
    seeds_by_cell: dict[str, dict[tuple, list]] = {}
    for run, statistics in zip(runs, segments, strict=True):
        triple = tuple(run["layers"][name] for name in TRIPLE)
        seeds_by_cell.setdefault(run["pair"], {}).setdefault(triple, []).append(statistics.get(metric))
    return {
        pair: {triple: np.stack(seeds) for triple, seeds in cells.items() if all(seed is not None for seed in seeds)}
        for pair, cells in seeds_by_cell.items()
    }


def _triple(choice: dict) -> tuple[int, int, int]:
    return tuple(choice[key] for key in TRIPLE)


def compare_cells(cells: Cells, best: tuple[int, int, int], metric: str) -> pd.DataFrame:
    """Return the rows of `cells_table` for one pair, without the columns pair and metric."""
    scores_by_cell = _resampled_scores(cells, metric)
    best_scores, best_resampled = scores_by_cell[best]
    rows = []
    for triple, (scores, resampled) in scores_by_cell.items():
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


def _resampled_scores(cells: Cells, metric: str) -> dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]]:
    """Return for each cell the score of each seed (seeds,) and those of the bootstrap samples (resamples, seeds)."""
    total = METRICS[metric].total
    return {triple: significance.resampled_scores(total, cell) for triple, cell in cells.items()}


def optimism(cells: Cells, metric: str) -> float:
    """Return the selection bias of the best cell: its score minus the expected score on new text, in metric points.

    Selecting the maximum of noisy scores overestimates it (winner's curse). A bootstrap estimates by how much. It
    resamples segments and seeds, selects the best cell in each sample, and subtracts that cell's score on all data. The
    result is positive if the selection is optimistic. It is a rough estimate: if all cells are equally good, the
    average error is about 20 %. With only one cell it is 0.
    """
    if len(cells) == 1:
        return 0.0
    scores_by_cell, sign = _resampled_scores(cells, metric), METRICS[metric].sign()
    seeds = min(len(scores) for scores, _ in scores_by_cell.values())
    seed_samples = np.random.default_rng(significance.SEED).integers(seeds, size=(significance.RESAMPLES, seeds))
    sample_means = np.stack(
        [np.take_along_axis(resampled, seed_samples, axis=1).mean(axis=1) for _, resampled in scores_by_cell.values()]
    )
    means = np.array([scores[:seeds].mean() for scores, _ in scores_by_cell.values()])
    winners = (sign * sample_means).argmax(axis=0)
    return float((sign * (sample_means[winners, np.arange(sample_means.shape[1])] - means[winners])).mean())


def winner_table(optimism: pd.DataFrame, summary: pd.DataFrame, variant: str | None) -> pd.DataFrame:
    """Compare the expected score of each pair's best cell with the test score of a `variant` with the same settings.

    `optimism` is the table of `optimism_table`, `summary` that of `ablation_summary.summarise`. Columns: those of
    `optimism`, variant, test, test_sd and overstated: by how much the score on `valid` is better than that on `test`.
    The last three are empty if the summary has no such row.
    """
    tested = summary[(summary["variant"] == variant) & (summary["split"] == "test")]
    tested = tested[["pair", "metric", "mean", "sd"]].rename(columns={"mean": "test", "sd": "test_sd"})
    table = optimism.assign(variant=variant).merge(tested, how="left", on=["pair", "metric"])
    signs = [METRICS[name].sign() for name in table["metric"]]
    return table.assign(overstated=(table["value"] - table["test"]) * signs)


def to_text(cells: pd.DataFrame, winner: pd.DataFrame) -> str:
    """Describe the uncertainty of the selection, one line per pair with more than one cell.

    A line gives the number of cells that do not differ significantly from the best, the selection bias, the expected
    score and the test score. The arguments are the tables of `cells_table` and `winner_table`.
    """
    lines = []
    for row in winner.itertuples():
        pair_cells, name = cells[cells["pair"] == row.pair], METRICS[row.metric].label
        like_best, others = int(pair_cells["like_best"].sum()) - 1, len(pair_cells) - 1
        if not others:
            continue
        noun = "other cell" if others == 1 else "other cells"
        bias = f"flatters itself by some {row.optimism:.1f} {name}: "
        if row.optimism < 0.05:  # prints as 0.0, or is negative by chance
            bias = "does not seem to flatter itself: "
        test = "" if pd.isna(row.test) else f"; {row.variant} has {row.test:.1f} on test"
        lines.append(
            f"{row.pair}: {like_best} of {others} {noun} cannot be told from the best (p >= 0.05, corrected). "
            f"The best of so many {bias}{row.expected:.1f} is to be expected on other text like valid{test}."
        )
    return "\n".join([*lines, ""])
