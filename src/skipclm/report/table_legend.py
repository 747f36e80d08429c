"""Legends of the ablation tables: the meaning of numbers and marks, and the metric signatures."""

import pandas as pd

from skipclm.evaluation.metrics import METRICS, RATES, label

MARKS = {"better": "▲", "worse": "▼"}


def are_rates(summary: pd.DataFrame) -> bool:
    """Return whether all metrics of the summary are error rates rather than quality metrics."""
    return summary["metric"].isin(RATES).all()


def legend(summary: pd.DataFrame, best: str = "in bold") -> str:
    """Return the legend of a table: it describes the numbers, and explains only the marks that occur.

    `best` says how the table marks the best mean of a column.
    """
    sentences = [*_describe_numbers(summary, best), *_describe_missing(summary)]
    return " ".join([*sentences, *_describe_failures(summary), *_describe_test_sets(summary)])


def _describe_numbers(summary: pd.DataFrame, best: str) -> list[str]:
    """Name the metrics, the test set, the aggregation, the better direction and the significance marks."""
    labels = [label(metric) for metric in summary["metric"].unique()]
    metrics = " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)
    split = summary["split"].iloc[0]
    test_set = "on the test split" if split == "test" else f"on the test set {display_name(split)}"
    counts = sorted({f"{count:,}" for count in summary["sentences"]}, key=len)
    test_set += f" of {' to '.join(dict.fromkeys((counts[0], counts[-1])))} sentences"
    unit = ", in per cent of translations (length ratio: of the reference's tokens)" if are_rates(summary) else ""
    sentences = [f"{metrics} {test_set}{unit}, {_describe_spread(summary)}; best mean per column {best}."]
    if not are_rates(summary):
        sentences += [f"Lower {label(name)} is better." for name in summary["metric"].unique() if sign(name) < 0]
    if summary["p_holm"].notna().any():
        sentences.append(_describe_significance(summary))
    return sentences


def _describe_missing(summary: pd.DataFrame) -> list[str]:
    """Explain metrics that did not run, cells without a score and incomplete means."""
    notes = summary.dropna(subset="note").drop_duplicates("metric")
    sentences = [f"{label(row.metric)} was not run: {row.note}." for row in notes.itertuples()]
    empty = summary[summary["mean"].isna()]
    if statuses := [status for status in ("diverged", "failed") if empty[status].any()]:
        sentences.append(f"–: {' or '.join(statuses)}.")
    if ((summary["seeds"] < summary["runs"]) & (summary["seeds"] > 0)).any():
        others = "diverged, failed" if summary["failed"].any() else "diverged"
        sentences.append(f"(k/n): only k of n seeds have a score, since the others {others} or the metric did not run.")
    return sentences


def _describe_test_sets(summary: pd.DataFrame) -> list[str]:
    """Count the dropped lines and the sources beyond the context, and give the ceilings set by the tokenizer."""
    sentences = [
        f"Of {row.pair}, {row.sentences} of {row.lines} lines are scored (left out: {row.dropped})."
        for row in summary.dropna(subset="dropped").drop_duplicates("pair").itertuples()
    ]
    for metric, rows in (
        summary.dropna(subset="ceiling").drop_duplicates(["pair", "metric"]).groupby("metric", sort=False)
    ):
        values = ", ".join(f"{row.ceiling:.1f} ({row.pair})" for row in rows.itertuples())
        sentences.append(
            f"A perfect model scores {label(metric)} {values}: the tokenizer cannot write the references as they are, "
            "or they are longer than a translation may be."
        )
    for row in summary[summary["too_long"] > 0].drop_duplicates("pair").itertuples():
        sentences.append(
            f"{row.too_long} of {row.sentences} sentences of {row.pair} are longer than the model reads ({row.context} "
            "tokens): their translations are empty and count as cut short."
        )
    return sentences


def _describe_failures(summary: pd.DataFrame) -> list[str]:
    """List the failed runs by reason, and the pairs without comparisons because a baseline run is missing."""
    sentences = []
    failed = summary[summary["failed"] > 0].drop_duplicates(["pair", "variant"])
    for reason, rows in failed.groupby("reason", sort=False):
        runs = ", ".join(f"{row.pair} {display_name(row.variant)}" for row in rows.itertuples())
        sentences.append(f"Failed: {runs} ({reason}).")
    for baseline in summary["baseline"].dropna().unique():
        lost = (summary["variant"] == baseline) & (summary["diverged"] + summary["failed"] > 0)
        if pairs := list(summary.loc[lost, "pair"].unique()):
            sentences.append(f"Not compared with {display_name(baseline)}, of which a run is lost: {', '.join(pairs)}.")
    return sentences


def _describe_significance(summary: pd.DataFrame) -> str:
    """Explain the significance marks, or state that no difference is significant."""
    baseline = display_name(summary["baseline"].dropna().iloc[0])
    marks = [f"{mark} {verdict}" for verdict, mark in MARKS.items() if (summary["verdict"] == verdict).any()]
    factors = "segments and training seeds" if (summary["runs"] > 1).any() else "segments alone"
    level = f"p < 0.05 over {factors}, Holm-corrected over the table"
    if not marks:
        return f"No difference from {baseline} was found to be more than chance ({level})."
    return f"{', '.join(marks)} than {baseline} by more than chance ({level})."


def _describe_spread(summary: pd.DataFrame) -> str:
    """Describe the numbers before and after ±, and the cells without ±."""
    counts = sorted(set(summary["runs"]) - {1})
    if not counts:
        return "one training seed"
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    without_sd = summary[summary["sd"].isna()]
    rows_by_cause = {"a single run": without_sd["seeds"] == 1, "untrained": without_sd["seeds"] > 1}
    causes = " or ".join(cause for cause, rows in rows_by_cause.items() if rows.any())
    exceptions = f" (without ±: {causes})" if causes else ""
    return f"mean ± sample standard deviation over {seeds} training seeds{exceptions}"


def signatures(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (metric label, signature) for each metric; if pairs differ in the signature, the label names the pairs."""
    lines = []
    for metric, rows in summary.dropna(subset="signature").groupby("metric", sort=False):
        pairs_by_signature = rows.groupby("signature", sort=False)["pair"].unique()
        for signature, pairs in pairs_by_signature.items():
            pair_names = f" ({', '.join(pairs)})" if len(pairs_by_signature) > 1 else ""
            lines.append((f"{label(metric)}{pair_names}", signature))
    return lines


def sign(metric: str) -> int:
    """Return 1 if higher is better, -1 if lower is better, 0 otherwise; 1 for an unknown metric."""
    return METRICS[metric].sign() if metric in METRICS else 1


def display_name(name: str) -> str:
    """Return the name of a variant or test set for display: "no_skip" becomes "no skip"."""
    return name.replace("_", " ")
