"""Tables: tidy files for programs, and the ablation as Markdown, LaTeX and plain text for people."""

import textwrap
from dataclasses import dataclass

import pandas as pd

from skipclm.errors import InputError
from skipclm.metrics import METRICS, label

_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "{}$&#%_"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "–": "--",
    }
)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Reduce tidy ablation scores over seeds.

    Columns: pair, variant, metric, mean, sd (sample; NaN below two seeds, and of untrained runs, which seeds do not
    touch), seeds (with a score), runs (asked for), signature. The order of `scores` is kept.
    InputError: scores of one pair and metric with different signatures.
    """
    _check_signatures(scores)
    spread = scores["value"].where(scores["status"] != "untrained")
    groups = scores.assign(spread=spread).groupby(["pair", "variant", "metric"], sort=False)
    return groups.agg(
        mean=("value", "mean"),
        sd=("spread", "std"),
        seeds=("value", "count"),
        runs=("value", "size"),
        signature=("signature", "first"),
    ).reset_index()


def to_markdown(summary: pd.DataFrame) -> str:
    """Print a summary as a Markdown table with its legend: variants in rows, pairs x metrics in columns."""
    columns, rows = _lay_out(summary)
    heads = ["variant", *(f"{pair} {label(metric)}" for pair, metric in columns)]
    lines = [heads, ["---"] + ["---:"] * len(columns)]
    lines += [[_plain(variant), *map(_markdown_cell, cells)] for variant, cells in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    signatures = [f"- {name}: `{signature}`" for name, signature in _signatures(summary)]
    return "\n".join([table, "", _legend(summary, rows), "", "Signatures:", "", *signatures, ""])


def to_latex(summary: pd.DataFrame) -> str:
    r"""Print a summary as a LaTeX table that needs only \usepackage{booktabs}."""
    columns, rows = _lay_out(summary)
    width = max(len(cell.mean) for _, cells in rows for cell in cells)
    body = [[_escape(_plain(variant)), *(_latex_cell(cell, width) for cell in cells)] for variant, cells in rows]
    caption = _escape(_legend(summary, rows))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\label{tab:ablation}",
        rf"\begin{{tabular}}{{{'l' * (len(columns) + 1)}}}",
        r"\toprule",
        *_latex_heads(columns),
        r"\midrule",
        *(" & ".join(line) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\medskip\footnotesize\raggedright",
        *(rf"{_escape(name)}: {_typewriter(signature)}\par" for name, signature in _signatures(summary)),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_text(summary: pd.DataFrame) -> str:
    """Print a summary as an aligned table for a terminal; a star follows the best mean of a column."""
    columns, rows = _lay_out(summary)
    lines = [["", *(pair for pair, _ in columns)], ["variant", *(label(metric) for _, metric in columns)]]
    lines += [[_plain(variant), *map(_text_cell, cells)] for variant, cells in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    legend = textwrap.fill(_legend(summary, rows, best="starred"), width=100)
    return "\n".join([*table, "", legend, ""])


@dataclass(frozen=True)
class _Cell:
    """The printed parts of one cell; an empty part is not printed."""

    mean: str = ""
    spread: str = ""
    count: str = ""  # seeds used of seeds asked for, where they differ
    best: bool = False


def _lay_out(summary: pd.DataFrame) -> tuple[list[tuple], list[tuple[str, list[_Cell]]]]:
    """Return the (pair, metric) columns and, per variant, its cells."""
    if summary.empty:
        raise InputError("expected at least one scored run for the table, found none; run the ablation first")
    pairs, metrics, variants = (summary[key].unique() for key in ("pair", "metric", "variant"))
    columns = [(pair, metric) for pair in pairs for metric in metrics]
    found = {(row.pair, row.variant, row.metric): row for row in summary.itertuples()}
    best = {column: _best(summary, *column) for column in columns}

    return columns, [
        (variant, [_cell(found.get((pair, variant, metric)), best[pair, metric]) for pair, metric in columns])
        for variant in variants
    ]


def _cell(row, best: str) -> _Cell:
    if row is None or pd.isna(row.mean):
        return _Cell()
    return _Cell(
        mean=f"{row.mean:.1f}",
        spread="" if pd.isna(row.sd) else f"{row.sd:.1f}",
        count="" if row.seeds == row.runs else f"{row.seeds}/{row.runs}",
        best=f"{row.mean:.1f}" == best,
    )


def _best(summary: pd.DataFrame, pair: str, metric: str) -> str:
    """Return the best mean of a column as printed, so that means that print alike are all marked; none if all do."""
    means = summary.loc[(summary["pair"] == pair) & (summary["metric"] == metric), "mean"].dropna()
    if len(means) > 1 and len({f"{mean:.1f}" for mean in means}) == 1:
        return ""
    higher = metric not in METRICS or METRICS[metric].higher_is_better
    return f"{means.max() if higher else means.min():.1f}"


def _markdown_cell(cell: _Cell) -> str:
    return _join(cell, f"**{cell.mean}**" if cell.best else cell.mean)


def _latex_cell(cell: _Cell, width: int) -> str:
    indent = rf"\phantom{{{'0' * (width - len(cell.mean))}}}" if 0 < len(cell.mean) < width else ""
    mean = rf"\textbf{{{cell.mean}}}" if cell.best else cell.mean
    return indent + _join(cell, mean).replace("±", r"$\pm$").replace("–", "--")


def _text_cell(cell: _Cell) -> str:
    return _join(cell, cell.mean + "*" * cell.best)


def _join(cell: _Cell, mean: str) -> str:
    if not cell.mean:
        return "–"
    spread = f" ± {cell.spread}" if cell.spread else ""
    count = f" ({cell.count})" if cell.count else ""
    return f"{mean}{spread}{count}"


def _latex_heads(columns: list[tuple[str, str]]) -> list[str]:
    """Return the two head rows: each pair over its metrics, and the rules between."""
    pairs = list(dict.fromkeys(pair for pair, _ in columns))
    span = len(columns) // len(pairs)
    groups = " & ".join(rf"\multicolumn{{{span}}}{{c}}{{{_escape(pair)}}}" for pair in pairs)
    starts = range(2, len(columns) + 2, span)
    rules = " ".join(rf"\cmidrule(lr){{{start}-{start + span - 1}}}" for start in starts)
    metrics = " & ".join(_escape(label(metric)) for _, metric in columns)
    return [rf" & {groups} \\", rules, rf"variant & {metrics} \\"]


def _legend(summary: pd.DataFrame, rows: list[tuple[str, list[_Cell]]], best: str = "in bold") -> str:
    """Say what the numbers are, and explain only the signs that occur."""
    cells = [cell for _, line in rows for cell in line]
    names = " and ".join(label(metric) for metric in summary["metric"].unique())
    sentences = [f"{names} on the test split, {_spread(summary)}; best mean per column {best}."]
    if any(not cell.mean for cell in cells):
        sentences.append("–: diverged or not run.")
    if any(cell.count for cell in cells):
        sentences.append("(k/n): only k of n seeds have a score, the others diverged.")
    return " ".join(sentences)


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


def _signatures(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (metric's label, signature), with the pairs named where their signatures differ."""
    found = summary.dropna(subset="signature")
    lines = []
    for metric, rows in found.groupby("metric", sort=False):
        by_signature = rows.groupby("signature", sort=False)["pair"].unique()
        for signature, pairs in by_signature.items():
            where = f" ({', '.join(pairs)})" if len(by_signature) > 1 else ""
            lines.append((f"{label(metric)}{where}", signature))
    return lines


def _check_signatures(scores: pd.DataFrame) -> None:
    for (pair, metric), rows in scores.groupby(["pair", "metric"], sort=False):
        found = rows["signature"].dropna().unique()
        if len(found) > 1:
            raise InputError(
                f"expected one {metric} signature for {pair}, found {' and '.join(found)}, whose scores do not "
                "compare; score the runs again with one sacrebleu and one tokenizer"
            )


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _escape(text: str) -> str:
    return text.translate(_LATEX)


def _typewriter(text: str) -> str:
    return rf"\texttt{{{_escape(text)}}}".replace(r"\textbar{}", r"\textbar{}\allowbreak{}")
