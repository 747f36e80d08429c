"""Collect run results in tidy tables, and select the best cell of the layer grid.

A cell is one combination of layers (TRIPLE). The grid has one run for each pair, cell and seed.
"""

from statistics import fmean

import pandas as pd

from skipclm.errors import InputError
from skipclm.evaluation.metrics import METRICS, check_names
from skipclm.evaluation.score_files import TRANSLATED_STATUSES
from skipclm.pairs import Pair
from skipclm.text import tidy

TRIPLE = ["contrastive_layer", "skip_source", "skip_target"]
_COSTS = ["sentences", "train_steps", "train_loss", "train_seconds", "micro_batch"]


def grid_scores(runs: list[dict], names: list[str]) -> pd.DataFrame:
    """Return the table of the grid runs, one row per run.

    Columns: pair, the triple, seed, status, one column per metric, one `<metric>_signature` column per metric,
    sentences, train_steps, train_loss (LM loss over the last logged steps), train_seconds, micro_batch (the final
    value: training halves it when memory runs out; empty for whole batches), reason (why a run failed). Rows are sorted
    by pair (in order of first appearance), triple and seed.
    The metrics of a diverged or failed run are empty. InputError: a run scored on `test`, a run without one of the
    metrics, or duplicate scores.
    """
    check_names(names)
    _check_unique(runs)
    pairs = list(dict.fromkeys(run["pair"] for run in runs))
    rows = [_grid_row(run, names) for run in runs]
    rows.sort(key=lambda row: (pairs.index(row["pair"]), *(row[key] for key in [*TRIPLE, "seed"])))
    signatures = [f"{name}_signature" for name in names]
    frame = pd.DataFrame(rows, columns=["pair", *TRIPLE, "seed", "status", *names, *signatures, *_COSTS, "reason"])
    return frame.astype(
        {name: float for name in names} | dict.fromkeys(("sentences", "train_steps", "micro_batch"), "Int64")
    )


def cell_scores(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one row per cell of one pair's grid: the triple, value (mean over seeds), low, high, seeds, lost.

    If a run of the cell diverged or failed, `lost` is `diverged` or `failed` and the cell has no value: the mean over
    the other seeds would be biased in favour of an unstable cell. Otherwise `lost` is empty. Rows are sorted by triple.
    """
    rows = []
    for triple, runs in scores.groupby(TRIPLE):
        lost = next((status for status in ("diverged", "failed") if (runs["status"] == status).any()), "")
        values = [float("nan")] if lost else runs[metric].tolist()
        # fmean rounds only once, so the order of the seeds does not affect ties.
        rows.append((*triple, fmean(values), min(values), max(values), len(runs), lost))
    return pd.DataFrame(rows, columns=[*TRIPLE, "value", "low", "high", "seeds", "lost"])


def rank_cells(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one pair's `cell_scores`, sorted from best to worst by the rules of `select_best`.

    Cells without a value come last. Two columns are added: chrf (0 if not measured) and skip_length.
    """
    cells = cell_scores(scores, metric)
    cells["chrf"] = cell_scores(scores, "chrf")["value"] if "chrf" in scores else 0.0
    cells["skip_length"] = cells["skip_target"] - cells["skip_source"]
    cells["is_lost"] = cells["lost"] != ""
    ascending = {"is_lost": True, "value": METRICS[metric].sign() < 0, "chrf": False}
    ascending |= dict.fromkeys(["skip_length", "contrastive_layer", "skip_source"], True)
    cells = cells.sort_values(list(ascending), ascending=list(ascending.values()), ignore_index=True)
    return cells.drop(columns="is_lost")


def select_best(
    scores: pd.DataFrame, metric: str = "bleu", pairs: list[str] | None = None, allow_missing: float = 0.0
) -> dict[str, dict]:
    """Select for each pair the cell with the best mean score over seeds.

    Ties are broken by higher mean chrF, then shorter skip, lower contrastive layer and lower source layer.
    A pair without grid runs takes the triple of the reverse pair, or else of the first pair with grid runs; the key
    `selected_on` names that pair. The values are plain JSON types.
    InputError: an unknown metric, a metric that did not run, an empty grid, a pair without any scored cell, or a pair
    where the share of failed cells is above `allow_missing`.
    """
    check_names([metric])
    if metric not in scores:
        raise InputError(f"expected a column {metric!r} in the grid's scores, found none; add it to the metrics")
    if scores.loc[scores["status"] == "ok", metric].isna().any():
        raise InputError(
            f"expected {metric} for every run of the grid, found runs where it did not run; see their scores"
        )
    grid_pairs = list(dict.fromkeys(scores["pair"]))
    if not grid_pairs:
        raise InputError("expected at least one scored run in the grid, found none; run the grid first")
    pairs = grid_pairs if pairs is None else pairs
    return {pair: _best_cell(scores, metric, _grid_pair(pair, pairs, grid_pairs), allow_missing) for pair in pairs}


def _grid_pair(pair: str, pairs: list[str], grid_pairs: list[str]) -> str:
    """Return the pair with grid runs that decides for `pair`: itself, the reverse pair, or the first one."""
    return next(candidate for candidate in [pair, Pair(pair).reverse, *pairs, *grid_pairs] if candidate in grid_pairs)


def to_text(best: dict[str, dict], names: dict[str, str]) -> str:
    """Describe the result of `select_best`, one line per pair; `names` maps a pair to its display name."""
    lines = []
    for pair, choice in best.items():
        if choice["selected_on"] != pair:
            lines.append(f"{names[pair]} ({pair}): those of {choice['selected_on']}")
            continue
        cell_count = "the only cell" if choice["cells"] == 1 else f"best of {choice['cells']} cells"
        margin = "" if choice["margin"] is None else f", {choice['margin']:.1f} ahead of the next"
        missing = f"; of {len(choice['failed'])} more a run failed" if choice["failed"] else ""
        lines.append(
            f"{names[pair]} ({pair}): contrastive layer {choice['contrastive_layer']}, skip {choice['skip_source']} to "
            f"{choice['skip_target']}; {METRICS[choice['metric']].label} {choice['value']:.1f} on valid, "
            f"{cell_count}{margin}{missing}"
        )
    return "\n".join(["Best layers", *lines, ""])


def ablation_scores(runs: list[dict], names: list[str]) -> pd.DataFrame:
    """Return a tidy table of the ablation runs, one row per run, split and metric.

    Columns: pair, split, variant, seed, metric, value, signature, status, note, sentences. Splits, pairs and variants
    are in order of first appearance, metrics in the order of `names`, seeds in ascending order. The status is ok,
    untrained, diverged or failed. The value is empty if the run diverged or failed, or if the metric did not run. The
    note gives the reason why the run failed or the metric did not run.
    InputError: a run without one of the metrics, or duplicate scores.
    """
    check_names(names)
    keys = ("split", "pair", "run")
    values = {key: list(dict.fromkeys(run[key] for run in runs)) for key in keys}
    ordered = sorted(runs, key=lambda run: (*(values[key].index(run[key]) for key in keys), run["seed"]))
    _check_unique(runs)
    rows = [
        (
            *(run["pair"], run["split"], run["run"], run["seed"], name, *_value_and_signature(run, name)),
            *(run["status"], _note(run, name), run["sentences"]),
        )
        for run in ordered
        for name in names
    ]
    columns = ["pair", "split", "variant", "seed", "metric", "value", "signature", "status", "note", "sentences"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float})


def _check_unique(runs: list[dict]) -> None:
    """Raise an `InputError` if two score files name the same run and split: one was copied from another run."""
    seen = set()
    for run in runs:
        run_id = (run["pair"], run["split"], run["run"], run["seed"])
        if run_id in seen:
            raise InputError(
                f"expected the scores of each run once, found those of {' '.join(map(str, run_id))} twice; remove the "
                "run's scores, so that it is scored again"
            )
        seen.add(run_id)


def _note(run: dict, name: str) -> str | None:
    """Return why the run failed or the metric did not run, on one line."""
    return _reason(run) or _on_one_line(run["metrics"].get(name, {}).get("not_run"))


def _reason(run: dict) -> str | None:
    """Return why the run failed, on one line."""
    return _on_one_line(run.get("reason"))


def _on_one_line(message: str | None) -> str | None:
    """Return an error message of any library on one line, as table cells require."""
    return message and tidy(message)


def _grid_row(run: dict, names: list[str]) -> dict:
    if run["split"] == "test":
        raise InputError(
            f"expected grid runs scored on valid, found {run['run']} ({run['pair']}) scored on test; "
            "score the grid on valid, since selecting layers on the test set biases the test scores"
        )
    scores = {name: _value_and_signature(run, name) for name in names}
    return {
        **{key: run[key] for key in ("pair", "seed", "status")},
        **{name: run["layers"][name] for name in TRIPLE},
        **{name: value for name, (value, _) in scores.items()},
        **{f"{name}_signature": signature for name, (_, signature) in scores.items()},
        **{key: run.get(key) for key in _COSTS},
        "reason": _reason(run),
    }


def _value_and_signature(run: dict, name: str) -> tuple[float | None, str | None]:
    """Return a run's value and signature, both None if the run has no translations or the metric did not run."""
    if run["status"] not in TRANSLATED_STATUSES:
        return None, None
    if name not in run["metrics"]:
        raise InputError(
            f"expected {name} among the scores of {run['pair']} {run['run']} seed {run['seed']}, found "
            f"{', '.join(run['metrics']) or 'none'}; score this run again with the configured metrics"
        )
    return run["metrics"][name]["value"], run["metrics"][name]["signature"]


def _best_cell(scores: pd.DataFrame, metric: str, pair: str, allow_missing: float) -> dict:
    """Return the entry of `select_best` for a pair with grid runs."""
    cells = rank_cells(scores[scores["pair"] == pair], metric)
    usable, diverged, failed = (cells[cells["lost"] == lost] for lost in ("", "diverged", "failed"))
    if len(failed) > allow_missing * len(cells):
        reasons = scores.loc[(scores["pair"] == pair) & (scores["status"] == "failed"), "reason"].unique()
        raise InputError(
            f"expected at most {allow_missing:.0%} of the cells for {pair} without a score (grid.allow_missing), found "
            f"that {len(failed)} of {len(cells)} failed ({'; '.join(map(str, reasons))}); remove the folders of those "
            "runs (see grid/scores.tsv) to run them again, or raise grid.allow_missing"
        )
    if usable.empty:
        raise InputError(
            f"expected at least one cell for {pair} where all runs succeeded, found that all {len(cells)} diverged or "
            "failed; lower training.learning_rate, or check the logs of the runs"
        )
    ranked = [{**_triple(cell), "value": float(cell["value"])} for _, cell in usable.iterrows()]
    best, runner_up = (*ranked, None)[:2]
    return {
        **_triple(best),
        "metric": metric,
        "value": best["value"],
        "seeds": int(usable["seeds"].iloc[0]),
        "runner_up": runner_up,
        "margin": abs(best["value"] - runner_up["value"]) if runner_up else None,
        "selected_on": pair,
        "cells": len(usable),
        "diverged": _triples(diverged),
        "failed": _triples(failed),
    }


def _triples(cells: pd.DataFrame) -> list[dict[str, int]]:
    return [_triple(cell) for _, cell in cells.sort_values(TRIPLE).iterrows()]


def _triple(cell: pd.Series) -> dict[str, int]:
    return {key: int(cell[key]) for key in TRIPLE}
