"""Aggregate the ablation scores over seeds."""

import pandas as pd

from skipclm.errors import InputError
from skipclm.evaluation.metrics import is_imperfect
from skipclm.pairs import Pair

_KEYS = ["pair", "split", "variant", "metric"]
_CHECK_COLUMNS = ["ceiling", "too_long", "context"]
_DROP_REASONS = {  # columns of the corpus summary, and their text in the table
    "blank": "blank",
    "long": "too long",
    "ratio": "unlike in length",
    "duplicate": "repeated",
    "overlap": "in train or valid too",
    "surplus": "beyond the size asked for",
}
_COMPARISON_COLUMNS = ["baseline", "difference", "low", "high", "p_holm", "verdict"]


def summarise(
    scores: pd.DataFrame,
    significance: pd.DataFrame | None = None,
    checks: list[dict] | None = None,
    corpus: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Aggregate tidy ablation scores over seeds, and add the comparison with the baseline.

    The result has one row per pair, split, variant and metric, in the order of `scores`. Further columns:
    - mean, sd (sample standard deviation; NaN for fewer than two seeds and for untrained runs, which do not depend on
      the seed), seeds (number of scored runs), runs (number of configured runs), diverged and failed (numbers of runs),
      sentences, signature, note (why a metric did not run), reason (why runs failed);
    - from `significance`, the table of `significance.compare_with_baseline`: baseline, difference, low, high, p_holm,
      verdict;
    - from `checks`, the token statistics of the test sets: ceiling (the score of a perfect model, if the tokenizer or
      the length limit lowers it), too_long (number of sources that are too long for the context), context (tokens);
    - from `corpus`, the corpus summaries: lines (of the test set before filtering; missing if the test set was split
      off the corpus), dropped (number of dropped lines per reason, as text; missing if none).

    InputError: scores of one pair and metric have different signatures.
    """
    _check_signatures(scores)
    summary = _aggregate(scores)
    if significance is None:
        summary = summary.reindex(columns=[*summary.columns, *_COMPARISON_COLUMNS])
    else:
        summary = summary.merge(significance[[*_KEYS, *_COMPARISON_COLUMNS]], how="left", on=_KEYS)
    rows = list(summary[_KEYS].itertuples())
    check_columns = pd.DataFrame([_check_values(row, checks or []) for row in rows], columns=_CHECK_COLUMNS)
    corpus_columns = pd.DataFrame([_corpus_values(row, corpus) for row in rows], columns=["lines", "dropped"])
    summary = summary.join(check_columns.astype({"ceiling": float, "too_long": "Int64", "context": "Int64"}))
    return summary.join(corpus_columns.astype({"lines": "Int64", "dropped": object}))


def _aggregate(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each group of `_KEYS` with the statistics over its seeds."""
    seed_values = scores["value"].where(scores["status"] != "untrained")
    lost = {status: scores["status"] == status for status in ("diverged", "failed")}
    notes = {"note": scores["note"].where(~lost["failed"]), "reason": scores["note"].where(lost["failed"])}
    return (
        scores.assign(seed_values=seed_values, **notes, **lost)
        .groupby(_KEYS, sort=False)
        .agg(
            mean=("value", "mean"),
            sd=("seed_values", "std"),
            seeds=("value", "count"),
            runs=("value", "size"),
            diverged=("diverged", "sum"),
            failed=("failed", "sum"),
            sentences=("sentences", "first"),
            signature=("signature", "first"),
            note=("note", "first"),
            reason=("reason", _join_unique),
        )
        .reset_index()
    )


def _corpus_values(row: tuple, corpus: pd.DataFrame | None) -> tuple[int | None, str | None]:
    """Return `lines` and `dropped` of a row; a pair and its reverse share one test set."""
    if corpus is None:
        return None, None
    pairs = (row.pair, Pair(row.pair).reverse)
    test_sets = corpus[corpus["pair"].isin(pairs) & (corpus["split"] == row.split) & (corpus["read"] > 0)]
    if test_sets.empty:
        return None, None
    counts = test_sets.to_dict("records")[0]
    dropped = [f"{counts[column]} {reason}" for column, reason in _DROP_REASONS.items() if counts[column]]
    return counts["read"], ", ".join(dropped) or None


def _check_values(row: tuple, checks: list[dict]) -> tuple[float | None, int | None, int | None]:
    """Return `ceiling`, `too_long` and `context` of a row; the ceiling is None if a perfect score can be reached."""
    for check in checks:
        if (check["pair"], check["split"]) == (row.pair, row.split):
            ceiling = check["ceiling"].get(row.metric, {}).get("value") if check["changed"] or check["cut"] else None
            is_lowered = ceiling is not None and is_imperfect(row.metric, ceiling)
            return ceiling if is_lowered else None, len(check["too_long"]), check["context"]
    return None, None, None


def _join_unique(texts: pd.Series) -> str | None:
    return "; ".join(texts.dropna().unique()) or None


def _check_signatures(scores: pd.DataFrame) -> None:
    for (pair, metric), rows in scores.groupby(["pair", "metric"], sort=False):
        signatures = rows["signature"].dropna().unique()
        if len(signatures) > 1:
            raise InputError(
                f"expected one {metric} signature for {pair}, found {' and '.join(signatures)}: these scores are not "
                "comparable; score the runs again with one version of sacrebleu and one tokenizer"
            )
