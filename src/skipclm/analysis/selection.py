"""Gather the runs' results into tidy tables and choose the best cell of the grid."""

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
    """Lay the grid's runs out as a table, one row per run.

    Columns: pair, the triple, seed, status, one per metric, one `<metric>_signature` each, sentences, train_steps,
    train_loss (of translation, over the last logged steps), train_seconds, micro_batch (in the end: it is halved where
    the memory does not suffice; empty for whole batches), reason (why a run failed). Rows are sorted by pair (as they
    first appear), triple and seed.
    A run that diverged or failed has empty metrics. InputError: a run scored on `test`, or lacking a metric.
    """
    check_names(names)
    check_once(runs)
    pairs = list(dict.fromkeys(run["pair"] for run in runs))
    rows = [_grid_row(run, names) for run in runs]
    rows.sort(key=lambda row: (pairs.index(row["pair"]), *(row[key] for key in [*TRIPLE, "seed"])))
    signatures = [f"{name}_signature" for name in names]
    frame = pd.DataFrame(rows, columns=["pair", *TRIPLE, "seed", "status", *names, *signatures, *_COSTS, "reason"])
    return frame.astype(
        {name: float for name in names} | dict.fromkeys(("sentences", "train_steps", "micro_batch"), "Int64")
    )


def cell_scores(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Summarise one pair's grid per cell: the triple, value (mean over seeds), low, high, seeds, lost.

    `lost` says why a cell has no value: `diverged` or `failed`, if one of its runs did, since the mean of the
    survivors would flatter an unstable cell; else it is empty. Rows are sorted by triple.
    """
    rows = []
    for triple, runs in scores.groupby(TRIPLE):
        lost = next((status for status in ("diverged", "failed") if (runs["status"] == status).any()), "")
        values = [float("nan")] if lost else runs[metric].tolist()
        # fmean rounds once, so the order of seeds cannot make or break a tie
        rows.append((*triple, fmean(values), min(values), max(values), len(runs), lost))
    return pd.DataFrame(rows, columns=[*TRIPLE, "value", "low", "high", "seeds", "lost"])


def rank_cells(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one pair's `cell_scores` from the best cell to the worst by the rules of `select_best`.

    Cells that are lost come last. Two columns are added: chrf (0 if not measured) and skip_length.
    """
    cells = cell_scores(scores, metric)
    cells["chrf"] = cell_scores(scores, "chrf")["value"] if "chrf" in scores else 0.0
    cells["skip_length"] = cells["skip_target"] - cells["skip_source"]
    cells["is_lost"] = cells["lost"] != ""
    rising = {"is_lost": True, "value": METRICS[metric].sign() < 0, "chrf": False}
    rising |= dict.fromkeys(["skip_length", "contrastive_layer", "skip_source"], True)
    cells = cells.sort_values(list(rising), ascending=list(rising.values()), ignore_index=True)
    return cells.drop(columns="is_lost")


def select_best(
    scores: pd.DataFrame, metric: str = "bleu", pairs: list[str] | None = None, allow_missing: float = 0.0
) -> dict[str, dict]:
    """Choose for each pair the cell with the best mean over seeds.

    Ties: higher mean chrF, then the shorter skip, the lower contrastive layer, the lower source.
    A pair without rows in the grid takes the triple of its way back, or of the first pair that has some
    (`selected_on`).
    Returns plain JSON values. InputError: an unknown metric, an empty grid, a pair of whose cells none has a score, or
    more than the share `allow_missing` failed.
    """
    check_names([metric])
    if metric not in scores:
        raise InputError(f"expected a column {metric!r} in the grid's scores, found none; add it to the metrics")
    if scores.loc[scores["status"] == "ok", metric].isna().any():
        raise InputError(
            f"expected {metric} for every run of the grid, found runs where it did not run; see their scores"
        )
    measured = list(dict.fromkeys(scores["pair"]))
    if not measured:
        raise InputError("expected at least one scored run in the grid, found none; run the grid first")
    pairs = measured if pairs is None else pairs
    return {pair: _best_cell(scores, metric, _donor(pair, pairs, measured), allow_missing) for pair in pairs}


def _donor(pair: str, pairs: list[str], measured: list[str]) -> str:
    """Return the pair whose grid decides: its own, that of the way back, or the first there is."""
    return next(each for each in [pair, Pair(pair).reverse, *pairs, *measured] if each in measured)


def to_text(best: dict[str, dict], names: dict[str, str]) -> str:
    """Say in a line per pair what `select_best` chose; `names` has the pairs' names for people."""
    lines = []
    for pair, choice in best.items():
        if choice["selected_on"] != pair:
            lines.append(f"{names[pair]} ({pair}): those of {choice['selected_on']}")
            continue
        of_cells = "the only cell" if choice["cells"] == 1 else f"best of {choice['cells']} cells"
        lead = "" if choice["margin"] is None else f", {choice['margin']:.1f} ahead of the next"
        missing = f"; of {len(choice['failed'])} more a run failed" if choice["failed"] else ""
        lines.append(
            f"{names[pair]} ({pair}): contrastive layer {choice['contrastive_layer']}, skip {choice['skip_source']} to "
            f"{choice['skip_target']}; {METRICS[choice['metric']].label} {choice['value']:.1f} on valid, "
            f"{of_cells}{lead}{missing}"
        )
    return "\n".join(["Best layers", *lines, ""])


def ablation_scores(runs: list[dict], names: list[str]) -> pd.DataFrame:
    """Lay the ablation's runs out as a tidy table, one row per run, split and metric.

    Columns: pair, split, variant, seed, metric, value, signature, status, note, sentences. Pairs, splits and variants
    keep the order in which they first appear, metrics that of `names`; seeds ascend. Status is ok, untrained, diverged
    or failed; the last two have empty values, and so has a metric that did not run. The note is its reason, or that of
    the failure.
    InputError: a metric that a run lacks, or a run that is there twice.
    """
    check_names(names)
    keys = ("split", "pair", "run")
    known = {key: list(dict.fromkeys(run[key] for run in runs)) for key in keys}
    ordered = sorted(runs, key=lambda run: (*(known[key].index(run[key]) for key in keys), run["seed"]))
    check_once(runs)
    rows = [
        (
            *(run["pair"], run["split"], run["run"], run["seed"], name, *_metric(run, name)),
            *(run["status"], _note(run, name), run["sentences"]),
        )
        for run in ordered
        for name in names
    ]
    columns = ["pair", "split", "variant", "seed", "metric", "value", "signature", "status", "note", "sentences"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float})


def check_once(runs: list[dict]) -> None:
    """Refuse scores of one run and split that come twice, and so in another's place (InputError)."""
    seen = set()
    for run in runs:
        which = (run["pair"], run["split"], run["run"], run["seed"])
        if which in seen:
            raise InputError(
                f"expected the scores of each run once, found those of {' '.join(map(str, which))} twice; remove the "
                "run's scores, so that it is scored again"
            )
        seen.add(which)


def _note(run: dict, name: str) -> str | None:
    return _reason(run) or _on_one_line(run["metrics"].get(name, {}).get("not_run"))


def _reason(run: dict) -> str | None:
    return _on_one_line(run.get("reason"))


def _on_one_line(text: str | None) -> str | None:
    """Return a message of any library as a cell of a table can hold it."""
    return text and tidy(text)


def _grid_row(run: dict, names: list[str]) -> dict:
    if run["split"] == "test":
        raise InputError(
            f"expected grid runs scored on valid, found {run['run']} ({run['pair']}) scored on test; "
            "score the grid on valid, since choosing layers on the test set would spoil it"
        )
    scores = {name: _metric(run, name) for name in names}
    return {
        **{key: run[key] for key in ("pair", "seed", "status")},
        **{name: run["layers"][name] for name in TRIPLE},
        **{name: value for name, (value, _) in scores.items()},
        **{f"{name}_signature": signature for name, (_, signature) in scores.items()},
        **{key: run.get(key) for key in _COSTS},
        "reason": _reason(run),
    }


def _metric(run: dict, name: str) -> tuple[float | None, str | None]:
    """Return a run's value and signature, both None if the run has none or the metric did not run."""
    if run["status"] not in TRANSLATED_STATUSES:
        return None, None
    if name not in run["metrics"]:
        raise InputError(
            f"expected {name} among the scores of {run['pair']} {run['run']} seed {run['seed']}, found "
            f"{', '.join(run['metrics']) or 'none'}; score this run again with the present metrics"
        )
    return run["metrics"][name]["value"], run["metrics"][name]["signature"]


def _best_cell(scores: pd.DataFrame, metric: str, pair: str, allow_missing: float) -> dict:
    """Return the entry of `select_best` for a pair that is in the grid."""
    cells = rank_cells(scores[scores["pair"] == pair], metric)
    usable, diverged, failed = (cells[cells["lost"] == lost] for lost in ("", "diverged", "failed"))
    if len(failed) > allow_missing * len(cells):
        reasons = scores.loc[(scores["pair"] == pair) & (scores["status"] == "failed"), "reason"].unique()
        raise InputError(
            f"expected at most {allow_missing:.0%} of the cells for {pair} to lack a score (grid.allow_missing), found "
            f"that {len(failed)} of {len(cells)} failed ({'; '.join(map(str, reasons))}); remove the folders of those "
            "runs (see grid/scores.tsv) to have them tried again, or allow more"
        )
    if usable.empty:
        raise InputError(
            f"expected at least one cell for {pair} whose runs all ended well, found that all {len(cells)} diverged or "
            "failed; lower training.learning_rate, or look at the runs' logs"
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
