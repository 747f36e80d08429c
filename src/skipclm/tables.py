"""Tables: tidy files for programs, and the ablation as Markdown, LaTeX, HTML and plain text for people."""

import textwrap
from dataclasses import dataclass
from html import escape

import pandas as pd

from skipclm.errors import InputError
from skipclm.metrics import METRICS, RATES, label

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
        "▲": r"$\uparrow$",
        "▼": r"$\downarrow$",
        "–": "--",
    }
)


_COMPARED = ["baseline", "difference", "low", "high", "p_holm", "verdict"]
_MARKS = {"better": "▲", "worse": "▼"}


def summarise(scores: pd.DataFrame, significance: pd.DataFrame | None = None) -> pd.DataFrame:
    """Reduce tidy ablation scores over seeds, and put beside them how they compare with the baseline.

    Columns: pair, variant, metric, mean, sd (sample; NaN below two seeds, and of untrained runs, which seeds do not
    touch), seeds (with a score), runs (asked for), diverged (runs), signature, note (why a metric did not run), and of
    `significance` (the table of `significance.against`) baseline, difference, low, high, p_holm and verdict. The order
    of `scores` is kept.
    InputError: scores of one pair and metric with different signatures.
    """
    _check_signatures(scores)
    spread = scores["value"].where(scores["status"] != "untrained")
    diverged = scores["status"] == "diverged"
    keys = ["pair", "variant", "metric"]
    summary = (
        scores.assign(spread=spread, diverged=diverged)
        .groupby(keys, sort=False)
        .agg(
            mean=("value", "mean"),
            sd=("spread", "std"),
            seeds=("value", "count"),
            runs=("value", "size"),
            diverged=("diverged", "sum"),
            signature=("signature", "first"),
            note=("note", "first"),
        )
    )
    if significance is None:
        return summary.reset_index().reindex(columns=[*keys, *summary.columns, *_COMPARED])
    return summary.reset_index().merge(significance[[*keys, *_COMPARED]], how="left", on=keys)


def to_markdown(summary: pd.DataFrame) -> str:
    """Print a summary as Markdown tables with their legends: variants in rows, pairs x metrics in columns."""
    return "\n".join(map(_markdown_table, _parts(summary)))


def _parts(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the part on quality and that on what goes wrong, as far as there are such metrics."""
    is_rate = summary["metric"].isin(RATES)
    parts = [summary[~is_rate], summary[is_rate]]
    return [part for part in parts if not part.empty] or [summary]


def _markdown_table(summary: pd.DataFrame) -> str:
    columns, rows = _lay_out(summary)
    heads = ["variant", *(f"{pair} {label(metric)}" for pair, metric in columns)]
    lines = [heads, ["---"] + ["---:"] * len(columns)]
    lines += [[_plain(variant), *map(_markdown_cell, cells)] for variant, cells in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    signatures = [f"- {name}: `{signature}`" for name, signature in _signatures(summary)]
    return "\n".join([table, "", _legend(summary, rows), "", "Signatures:", "", *signatures, ""])


def to_html(summary: pd.DataFrame) -> str:
    """Print a summary as a page by itself: the tables with their legends and signatures."""
    parts = "\n".join(map(_html_table, _parts(summary)))
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Ablation</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; border-block: 2px solid; margin-block: 2rem 1rem; }}
thead tr:last-child {{ border-bottom: 1px solid; }}
th, td {{ padding: 0.2rem 0.8rem; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th:first-child {{ text-align: left; }}
thead th[colspan] {{ text-align: center; }}
code {{ overflow-wrap: anywhere; }}
</style>
{parts}
</html>
"""


def _html_table(summary: pd.DataFrame) -> str:
    columns, rows = _lay_out(summary)
    pairs = list(dict.fromkeys(pair for pair, _ in columns))
    span = len(columns) // len(pairs)
    groups = "".join(f'<th colspan="{span}">{escape(pair)}</th>' for pair in pairs)
    heads = "".join(f"<th>{escape(label(metric))}</th>" for _, metric in columns)
    body = "\n".join(
        f"<tr><th>{escape(_plain(variant))}</th>{''.join(f'<td>{_html_cell(cell)}</td>' for cell in cells)}</tr>"
        for variant, cells in rows
    )
    signatures = "\n".join(
        f"<li>{escape(name)}: <code>{escape(signature)}</code></li>" for name, signature in _signatures(summary)
    )
    return f"""<table>
<thead>
<tr><th></th>{groups}</tr>
<tr><th>variant</th>{heads}</tr>
</thead>
<tbody>
{body}
</tbody>
</table>
<p>{escape(_legend(summary, rows))}</p>
<ul>
{signatures}
</ul>"""


def to_latex(summary: pd.DataFrame) -> str:
    r"""Print a summary's part on quality as a LaTeX table that needs only \usepackage{booktabs}."""
    summary = _parts(summary)[0]
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
    """Print a summary as aligned tables for a terminal; a star follows the best mean of a column."""
    return "\n".join(map(_text_table, _parts(summary)))


def _text_table(summary: pd.DataFrame) -> str:
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
    mark: str = ""  # of a difference from the baseline that is more than chance


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


def _cell(row: tuple | None, best: str) -> _Cell:
    if row is None or pd.isna(row.mean):
        return _Cell()
    return _Cell(
        mean=f"{row.mean:.1f}",
        spread="" if pd.isna(row.sd) else f"{row.sd:.1f}",
        count="" if row.seeds == row.runs else f"{row.seeds}/{row.runs}",
        best=f"{row.mean:.1f}" == best,
        mark=_MARKS.get(row.verdict, ""),
    )


def _best(summary: pd.DataFrame, pair: str, metric: str) -> str:
    """Return the best mean of a column as printed, so that means that print alike are all marked; none if all do."""
    means = summary.loc[(summary["pair"] == pair) & (summary["metric"] == metric), "mean"].dropna()
    if len(means) > 1 and len({f"{mean:.1f}" for mean in means}) == 1:
        return ""
    sign = METRICS[metric].sign() if metric in METRICS else 1
    return {1: f"{means.max():.1f}", -1: f"{means.min():.1f}", 0: ""}[sign]


def _markdown_cell(cell: _Cell) -> str:
    return _join(cell, f"**{cell.mean}**" if cell.best else cell.mean)


def _html_cell(cell: _Cell) -> str:
    return _join(cell, f"<b>{cell.mean}</b>" if cell.best else cell.mean)


def _latex_cell(cell: _Cell, width: int) -> str:
    indent = rf"\phantom{{{'0' * (width - len(cell.mean))}}}" if 0 < len(cell.mean) < width else ""
    mean = rf"\textbf{{{cell.mean}}}" if cell.best else cell.mean
    signs = {sign: _LATEX[ord(sign)] for sign in "±–▲▼"}
    return indent + _join(cell, mean).translate(str.maketrans(signs))


def _text_cell(cell: _Cell) -> str:
    return _join(cell, cell.mean + "*" * cell.best)


def _join(cell: _Cell, mean: str) -> str:
    if not cell.mean:
        return "–"
    spread = f" ± {cell.spread}" if cell.spread else ""
    count = f" ({cell.count})" if cell.count else ""
    return f"{mean}{spread}{count}{cell.mark and ' '}{cell.mark}"


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
    found = [label(metric) for metric in summary["metric"].unique()]
    names = " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
    are_rates = summary["metric"].isin(RATES).all()
    unit = ", in per cent of translations (length ratio: of the reference's tokens)" if are_rates else ""
    sentences = [f"{names} on the test split{unit}, {_spread(summary)}; best mean per column {best}."]
    if summary["p_holm"].notna().any():
        sentences.append(_on_chance(summary))
    notes = summary.dropna(subset="note").drop_duplicates("metric")
    sentences += [f"{label(row.metric)} was not run: {row.note}." for row in notes.itertuples()]
    if summary["diverged"].any() or summary.loc[summary["note"].isna(), "mean"].isna().any():
        sentences.append("–: diverged.")
    if any(cell.count for cell in cells):
        sentences.append("(k/n): only k of n seeds have a score, the others diverged.")
    return " ".join(sentences)


def _on_chance(summary: pd.DataFrame) -> str:
    """Explain the marks of significance, or say that there are none."""
    baseline = _plain(summary["baseline"].dropna().iloc[0])
    marks = [f"{mark} {verdict}" for verdict, mark in _MARKS.items() if (summary["verdict"] == verdict).any()]
    if not marks:
        return f"No difference from {baseline} is more than chance (p < 0.05, Holm-corrected)."
    return (
        f"{', '.join(marks)} than {baseline} by more than chance (p < 0.05 over segments and training seeds, "
        "Holm-corrected over the table)."
    )


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
