"""The ablation's scores, reduced over seeds."""

import pandas as pd

from skipclm.errors import InputError
from skipclm.evaluation.metrics import is_imperfect
from skipclm.pairs import Pair

_CHECKED = ["ceiling", "too_long", "context"]
_DROPPED = {  # the columns of the corpus's summary, in words
    "blank": "blank",
    "long": "too long",
    "ratio": "unlike in length",
    "duplicate": "repeated",
    "overlap": "in train or valid too",
    "surplus": "beyond the size asked for",
}
_COMPARED = ["baseline", "difference", "low", "high", "p_holm", "verdict"]


def summarise(
    scores: pd.DataFrame,
    significance: pd.DataFrame | None = None,
    checks: list[dict] | None = None,
    corpus: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Reduce tidy ablation scores over seeds, and put beside them how they compare with the baseline.

    Columns: pair, split, variant, metric, mean, sd (sample; NaN below two seeds, and of untrained runs, which
    seeds do not touch), seeds (with a score), runs (asked for), diverged (runs), failed (runs), sentences, signature,
    note (why a metric did not run), reason (why the failed runs did), of `significance` (the table of
    `significance.against`) baseline, difference, low, high, p_holm and verdict, and of `checks` (the facts of the test
    sets' tokens) ceiling (the score of a perfect model, where tokenizer or limit of length lower it), too_long
    (sentences that the model cannot read) and context (its tokens), and of `corpus` (its summaries) lines (of the test
    set as it was read; missing for a carved one) and dropped (how many of them for what, in words; missing for none).
    The order of `scores` is kept.
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
    summary = summary.reset_index()
    if significance is None:
        summary = summary.reindex(columns=[*summary.columns, *_COMPARED])
    else:
        summary = summary.merge(significance[[*keys, *_COMPARED]], how="left", on=keys)
    found = pd.DataFrame([_checked(row, checks or []) for row in summary[keys].itertuples()], columns=_CHECKED)
    summary = summary.join(found.astype({"ceiling": float, "too_long": "Int64", "context": "Int64"}))
    lines = pd.DataFrame([_lines(row, corpus) for row in summary[keys].itertuples()], columns=["lines", "dropped"])
    return summary.join(lines.astype({"lines": "Int64", "dropped": object}))


def _lines(row: tuple, corpus: pd.DataFrame | None) -> tuple[int | None, str | None]:
    """Return the lines of a row's test set and what was dropped of them; the way back of a pair has the same text."""
    if corpus is None:
        return None, None
    pairs = (row.pair, Pair(row.pair).reverse)
    found = corpus[corpus["pair"].isin(pairs) & (corpus["split"] == row.split) & (corpus["read"] > 0)]
    for each in found.to_dict("records"):
        return each["read"], ", ".join(f"{each[name]} {text}" for name, text in _DROPPED.items() if each[name]) or None
    return None, None


def _checked(row: tuple, checks: list[dict]) -> tuple[float | None, int | None, int | None]:
    """Return ceiling, too_long and context of a row; no ceiling where perfect translations are within reach."""
    for check in checks:
        if (check["pair"], check["split"]) == (row.pair, row.split):
            ceiling = check["ceiling"].get(row.metric, {}).get("value") if check["changed"] or check["cut"] else None
            is_worth_a_note = ceiling is not None and is_imperfect(row.metric, ceiling)
            return ceiling if is_worth_a_note else None, len(check["too_long"]), check["context"]
    return None, None, None


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
