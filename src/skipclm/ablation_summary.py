"""The ablation's scores, reduced over seeds."""

import pandas as pd

from skipclm.errors import InputError

_COMPARED = ["baseline", "difference", "low", "high", "p_holm", "verdict"]


def summarise(scores: pd.DataFrame, significance: pd.DataFrame | None = None) -> pd.DataFrame:
    """Reduce tidy ablation scores over seeds, and put beside them how they compare with the baseline.

    Columns: pair, split, variant, metric, mean, sd (sample; NaN below two seeds, and of untrained runs, which
    seeds do not touch), seeds (with a score), runs (asked for), diverged (runs), failed (runs), sentences, signature,
    note (why a metric did not run), reason (why the failed runs did), and of `significance` (the table of
    `significance.against`) baseline, difference, low, high, p_holm and verdict. The order of `scores` is kept.
    InputError: scores of one pair and metric with different signatures.
    """
    _check_signatures(scores)
    spread = scores["value"].where(scores["status"] != "untrained")
    lost = {status: scores["status"] == status for status in ("diverged", "failed")}
    notes = {"note": scores["note"].where(~lost["failed"]), "reason": scores["note"].where(lost["failed"])}
    keys = ["pair", "split", "variant", "metric"]
    summary = (
        scores.assign(spread=spread, **notes, **lost)
        .groupby(keys, sort=False)
        .agg(
            mean=("value", "mean"),
            sd=("spread", "std"),
            seeds=("value", "count"),
            runs=("value", "size"),
            diverged=("diverged", "sum"),
            failed=("failed", "sum"),
            sentences=("sentences", "first"),
            signature=("signature", "first"),
            note=("note", "first"),
            reason=("reason", _each_once),
        )
    )
    if significance is None:
        return summary.reset_index().reindex(columns=[*keys, *summary.columns, *_COMPARED])
    return summary.reset_index().merge(significance[[*keys, *_COMPARED]], how="left", on=keys)


def _each_once(texts: pd.Series) -> str | None:
    return "; ".join(texts.dropna().unique()) or None


def _check_signatures(scores: pd.DataFrame) -> None:
    for (pair, metric), rows in scores.groupby(["pair", "metric"], sort=False):
        found = rows["signature"].dropna().unique()
        if len(found) > 1:
            raise InputError(
                f"expected one {metric} signature for {pair}, found {' and '.join(found)}, whose scores do not "
                "compare; score the runs again with one sacrebleu and one tokenizer"
            )
