"""What stands below a table of the ablation: what its numbers and signs mean, and the signatures of its metrics."""

import pandas as pd

from skipclm.evaluation.metrics import METRICS, RATES, label

MARKS = {"better": "▲", "worse": "▼"}


def are_rates(summary: pd.DataFrame) -> bool:
    """Tell whether a part is on what goes wrong, not on quality."""
    return summary["metric"].isin(RATES).all()


def legend(summary: pd.DataFrame, best: str = "in bold") -> str:
    """Say what the numbers are, and explain only the signs that occur."""
    found = [label(metric) for metric in summary["metric"].unique()]
    names = " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
    split = summary["split"].iloc[0]
    where = "on the test split" if split == "test" else f"on the test set {plain(split)}"
    unit = ", in per cent of translations (length ratio: of the reference's tokens)" if are_rates(summary) else ""
    counts = sorted({f"{count:,}" for count in summary["sentences"]}, key=len)
    where += f" of {' to '.join(dict.fromkeys((counts[0], counts[-1])))} sentences"
    sentences = [f"{names} {where}{unit}, {_spread(summary)}; best mean per column {best}."]
    lower = [] if are_rates(summary) else [label(name) for name in summary["metric"].unique() if sign(name) < 0]
    sentences += [f"Lower {name} is better." for name in lower]
    if summary["p_holm"].notna().any():
        sentences.append(_on_chance(summary))
    notes = summary.dropna(subset="note").drop_duplicates("metric")
    sentences += [f"{label(row.metric)} was not run: {row.note}." for row in notes.itertuples()]
    empty = summary[summary["mean"].isna()]
    if lost := [status for status in ("diverged", "failed") if empty[status].any()]:
        sentences.append(f"–: {' or '.join(lost)}.")
    if ((summary["seeds"] < summary["runs"]) & (summary["seeds"] > 0)).any():
        others = "diverged, failed" if summary["failed"].any() else "diverged"
        sentences.append(f"(k/n): only k of n seeds have a score, since the others {others} or the metric did not run.")
    return " ".join([*sentences, *_on_failures(summary), *_on_text(summary)])


def _on_text(summary: pd.DataFrame) -> list[str]:
    """Say which lines of the test set are left out, what the tokenizer cannot write and the model cannot read."""
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


def _on_failures(summary: pd.DataFrame) -> list[str]:
    """Say which runs failed and why, and where the baseline is lost, and with it every comparison."""
    sentences = []
    failed = summary[summary["failed"] > 0].drop_duplicates(["pair", "variant"])
    for reason, rows in failed.groupby("reason", sort=False):
        which = ", ".join(f"{row.pair} {plain(row.variant)}" for row in rows.itertuples())
        sentences.append(f"Failed: {which} ({reason}).")
    for baseline in summary["baseline"].dropna().unique():
        lost = (summary["variant"] == baseline) & (summary["diverged"] + summary["failed"] > 0)
        if pairs := list(summary.loc[lost, "pair"].unique()):
            sentences.append(f"Not compared with {plain(baseline)}, of which a run is lost: {', '.join(pairs)}.")
    return sentences


def _on_chance(summary: pd.DataFrame) -> str:
    """Explain the marks of significance, or say that there are none."""
    baseline = plain(summary["baseline"].dropna().iloc[0])
    marks = [f"{mark} {verdict}" for verdict, mark in MARKS.items() if (summary["verdict"] == verdict).any()]
    over = "segments and training seeds" if (summary["runs"] > 1).any() else "segments alone"
    level = f"p < 0.05 over {over}, Holm-corrected over the table"
    if not marks:
        return f"No difference from {baseline} was found to be more than chance ({level})."
    return f"{', '.join(marks)} than {baseline} by more than chance ({level})."


def _spread(summary: pd.DataFrame) -> str:
    """Describe what stands around ±."""
    several = sorted(set(summary["runs"]) - {1})
    if not several:
        return "one training seed"
    count = str(several[0]) if len(several) == 1 else f"{several[0]} to {several[-1]}"
    without = summary[summary["sd"].isna()]
    causes = {"a single run": without["seeds"] == 1, "untrained": without["seeds"] > 1}
    found = " or ".join(cause for cause, rows in causes.items() if rows.any())
    return f"mean ± sample standard deviation over {count} training seeds" + (f" (without ±: {found})" if found else "")


def signatures(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (metric's label, signature), with the pairs named where their signatures differ."""
    found = summary.dropna(subset="signature")
    lines = []
    for metric, rows in found.groupby("metric", sort=False):
        by_signature = rows.groupby("signature", sort=False)["pair"].unique()
        for signature, pairs in by_signature.items():
            where = f" ({', '.join(pairs)})" if len(by_signature) > 1 else ""
            lines.append((f"{label(metric)}{where}", signature))
    return lines


def sign(metric: str) -> int:
    """Return 1 where more is better, -1 where less is, and 0 where neither; of an unknown metric more is."""
    return METRICS[metric].sign() if metric in METRICS else 1


def plain(name: str) -> str:
    """Return the name of a variant or a test set as people read it."""
    return name.replace("_", " ")
