"""Ablation tables in Markdown, LaTeX, HTML and plain text.

Variants are rows, (pair, metric) combinations are columns. Each test set has one table for quality metrics and one for
error rates. A table with too many columns for the page is split into blocks, one below the other.
"""

import textwrap
from dataclasses import dataclass, replace
from html import escape

import pandas as pd

from skipclm.errors import InputError
from skipclm.evaluation.metrics import RATES, label
from skipclm.report.table_legend import MARKS, are_rates, display_name, legend, sign, signatures

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

_MAX_COLUMNS = 6  # columns of numbers in a block
_MAX_LINES = 36  # lines of a LaTeX float, so that it fits on a page with its caption


def to_markdown(summary: pd.DataFrame) -> str:
    """Return a summary as Markdown tables with legends and signatures.

    InputError, here and in the other formats: an empty summary.
    """
    return "\n".join(map(_markdown_table, _split_by_table(summary)))


def _split_by_table(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each table: per test set the quality metrics, then the error rates."""
    if summary.empty:
        raise InputError("expected at least one scored run for the table, found none; run the ablation first")
    split_order = {split: number for number, split in enumerate(summary["split"].unique())}
    return [part for _, part in summary.groupby([summary["split"].map(split_order), summary["metric"].isin(RATES)])]


def _markdown_table(summary: pd.DataFrame) -> str:
    blocks = "\n\n".join(map(_markdown_block, _split_into_blocks(summary)))
    signature_lines = [f"- {name}: `{signature}`" for name, signature in signatures(summary)]
    return "\n".join([blocks, "", legend(summary), "", "Signatures:", "", *signature_lines, ""])


def _markdown_block(block: "_Block") -> str:
    headers = ["variant", *(f"{pair} {label(metric)}" for pair, metric in block.columns)]
    lines = [headers, ["---"] + ["---:"] * len(block.columns)]
    lines += [[display_name(variant), *map(_markdown_cell, cells)] for variant, cells in block.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_html(summary: pd.DataFrame) -> str:
    """Return a summary as a complete HTML page: tables with legends and signatures."""
    page_tables = "\n".join(map(_html_table, _split_by_table(summary)))
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Ablation</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin-block: 2rem 3rem; }}
caption {{ caption-side: bottom; text-align: left; }}
tbody {{ border-block: 2px solid; }}
tr:nth-child(2) {{ border-bottom: 1px solid; }}
th, td {{ padding: 0.2rem 0.8rem; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th:first-child {{ text-align: left; }}
th[colspan] {{ text-align: center; }}
td i {{ display: inline-block; width: 1.2em; font-style: normal; }}
code {{ overflow-wrap: anywhere; }}
</style>
{page_tables}
</html>
"""


def _html_table(summary: pd.DataFrame) -> str:
    blocks = "\n".join(map(_html_block, _split_into_blocks(summary)))
    items = "\n".join(
        f"<li>{escape(name)}: <code>{escape(signature)}</code></li>" for name, signature in signatures(summary)
    )
    return f"""<table>
<caption>
<p>{escape(legend(summary))}</p>
<ul>
{items}
</ul>
</caption>
{blocks}
</table>"""


def _html_block(block: "_Block") -> str:
    pair_headers = "".join(f'<th colspan="{block.span}">{escape(pair)}</th>' for pair in block.pairs)
    metric_headers = "".join(f"<th>{escape(label(metric))}</th>" for _, metric in block.columns)
    body = "\n".join(
        f"<tr><th>{escape(display_name(variant))}</th>{''.join(f'<td>{_html_cell(cell)}</td>' for cell in cells)}</tr>"
        for variant, cells in block.rows
    )
    return f"<tbody>\n<tr><th></th>{pair_headers}</tr>\n<tr><th>variant</th>{metric_headers}</tr>\n{body}\n</tbody>"


def to_latex(summary: pd.DataFrame) -> str:
    r"""Return a summary's quality metrics as LaTeX tables, one per test set; they require \usepackage{booktabs}.

    If the summary has only error rates, the first table of them is returned.
    """
    parts = _split_by_table(summary)
    return "\n".join(map(_latex_table, [part for part in parts if not are_rates(part)] or parts[:1]))


def _latex_table(summary: pd.DataFrame) -> str:
    """Return a table as one or more floats; the first has the full caption, the others refer to it."""
    blocks, split = _split_into_blocks(summary), summary["split"].iloc[0]
    width = max(len(cell.mean) for block in blocks for _, cells in block.rows for cell in cells)
    table_label = "ablation" if split == "test" else f"ablation-{split}"
    signature_list = "; ".join(f"{_escape(name)} {_typewriter(text)}" for name, text in signatures(summary))
    caption = [
        rf"\caption{{{_escape(legend(summary))}{signature_list and f' Signatures: {signature_list}.'}}}",
        rf"\label{{tab:{table_label}}}",
    ]
    blocks_per_float = max(1, _MAX_LINES // (len(blocks[0].rows) + 3))
    floats = []
    for start in range(0, len(blocks), blocks_per_float):
        floats.append(_latex_float(blocks[start : start + blocks_per_float], width, caption))
        caption = [rf"\caption{{Further pairs of table~\ref{{tab:{table_label}}}.}}"]
    return "\n".join(floats)


def _latex_float(blocks: list["_Block"], width: int, caption: list[str]) -> str:
    table = "table" if len(blocks[0].columns) <= _MAX_COLUMNS // 2 else "table*"  # table* spans both page columns
    lines = [
        rf"\begin{{{table}}}",
        r"\centering\small\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{{'l' * (len(blocks[0].columns) + 1)}}}",
        r"\toprule",
        "\n\\midrule\n".join(_latex_block(block, width) for block in blocks),
        r"\bottomrule",
        r"\end{tabular}",
        *caption,
        rf"\end{{{table}}}",
    ]
    return "\n".join(lines) + "\n"


def _latex_block(block: "_Block", width: int) -> str:
    """Return two header rows (pairs, metrics) with the rule between them, and the body."""
    pair_headers = " & ".join(rf"\multicolumn{{{block.span}}}{{c}}{{{_escape(pair)}}}" for pair in block.pairs)
    starts = range(2, len(block.columns) + 2, block.span)
    rules = " ".join(rf"\cmidrule(lr){{{start}-{start + block.span - 1}}}" for start in starts)
    metric_headers = " & ".join(_escape(label(metric)) for _, metric in block.columns)
    lines = [rf" & {pair_headers} \\", rules, rf"variant & {metric_headers} \\", r"\midrule"]
    for variant, cells in block.rows:
        lines.append(
            " & ".join([_escape(display_name(variant)), *(_latex_cell(cell, width) for cell in cells)]) + r" \\"
        )
    return "\n".join(lines)


def to_text(summary: pd.DataFrame) -> str:
    """Return a summary as aligned tables for a terminal; an asterisk marks the best mean of a column."""
    return "\n".join(map(_text_table, _split_by_table(summary)))


def _text_table(summary: pd.DataFrame) -> str:
    blocks = "\n\n".join(map(_text_block, _split_into_blocks(summary)))
    return "\n".join([blocks, "", textwrap.fill(legend(summary, best="starred"), width=100), ""])


def _text_block(block: "_Block") -> str:
    lines = [["", *(pair for pair, _ in block.columns)], ["variant", *(label(metric) for _, metric in block.columns)]]
    lines += [[display_name(variant), *map(_text_cell, cells)] for variant, cells in block.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


@dataclass(frozen=True)
class _Cell:
    """The parts of one table cell; empty parts are not printed."""

    mean: str = ""
    sd: str = ""
    count: str = ""  # scored/configured runs, if they differ
    best: bool = False
    mark: str = ""  # significance mark


@dataclass(frozen=True)
class _Block:
    """A block of columns (pair, metric), with the same metrics for each pair, and the rows (variant, cells)."""

    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[_Cell]]]

    @property
    def pairs(self) -> list[str]:
        """The pairs of the block, in the order of the columns."""
        return list(dict.fromkeys(pair for pair, _ in self.columns))

    @property
    def span(self) -> int:
        """The number of columns of each pair."""
        return len(self.columns) // len(self.pairs)


def _split_into_blocks(summary: pd.DataFrame) -> list[_Block]:
    """Return one table as blocks of at most `_MAX_COLUMNS` columns; each block has at least one pair."""
    pairs, metrics, variants = (list(summary[key].unique()) for key in ("pair", "metric", "variant"))
    rows_by_key = {(row.pair, row.variant, row.metric): row for row in summary.itertuples()}
    best = {(pair, metric): _best_mean(summary, pair, metric) for pair in pairs for metric in metrics}
    pairs_per_block, blocks = max(1, _MAX_COLUMNS // len(metrics)), []
    for start in range(0, len(pairs), pairs_per_block):
        columns = [(pair, metric) for pair in pairs[start : start + pairs_per_block] for metric in metrics]
        rows = [
            (variant, [_cell(rows_by_key.get((pair, variant, metric)), best[pair, metric]) for pair, metric in columns])
            for variant in variants
        ]
        blocks.append(_Block(columns, rows))
    return blocks


def _cell(row: tuple | None, best: str) -> _Cell:
    """Return the cell of a summary row; `best` is the best mean of its column as printed."""
    if row is None or pd.isna(row.mean):
        return _Cell()
    return _Cell(
        mean=f"{row.mean:.1f}",
        sd="" if pd.isna(row.sd) else f"{row.sd:.1f}",
        count="" if row.seeds == row.runs else f"{row.seeds}/{row.runs}",
        best=row.seeds == row.runs and f"{row.mean:.1f}" == best,
        mark=MARKS.get(row.verdict, ""),
    )


def _best_mean(summary: pd.DataFrame, pair: str, metric: str) -> str:
    """Return the best mean of a column as printed, so that ties are all marked; empty if all means print the same.

    Variants with missing seeds are excluded, because the mean of the remaining seeds is biased.
    """
    complete = summary["seeds"] == summary["runs"]
    means = summary.loc[complete & (summary["pair"] == pair) & (summary["metric"] == metric), "mean"].dropna()
    if means.empty or (len(means) > 1 and len({f"{mean:.1f}" for mean in means}) == 1):
        return ""
    return {1: f"{means.max():.1f}", -1: f"{means.min():.1f}", 0: ""}[sign(metric)]


def _markdown_cell(cell: _Cell) -> str:
    return _join_parts(cell, f"**{cell.mean}**" if cell.best else cell.mean)


def _html_cell(cell: _Cell) -> str:
    number = _join_parts(replace(cell, mark=""), f"<b>{cell.mean}</b>" if cell.best else cell.mean)
    return f"{number}<i>{cell.mark}</i>"  # <i> has a fixed width, so that the numbers are aligned


def _latex_cell(cell: _Cell, width: int) -> str:
    indent = rf"\phantom{{{'0' * (width - len(cell.mean))}}}" if 0 < len(cell.mean) < width else ""
    mean = rf"\textbf{{{cell.mean}}}" if cell.best else cell.mean
    small = (rf"$\pm${cell.sd}" if cell.sd else "") + (f" ({cell.count})" if cell.count else "")
    small = rf"{{\scriptsize{small}}}" if small else ""
    return f"{indent}{mean}{small}{cell.mark.translate(_LATEX)}" if cell.mean else "--"


def _text_cell(cell: _Cell) -> str:
    return _join_parts(cell, cell.mean + "*" * cell.best)


def _join_parts(cell: _Cell, mean: str) -> str:
    """Return the text of a cell with its formatted `mean`."""
    if not cell.mean:
        return "–"
    sd = f" ± {cell.sd}" if cell.sd else ""
    count = f" ({cell.count})" if cell.count else ""
    return f"{mean}{sd}{count}{cell.mark and ' '}{cell.mark}"


def _escape(text: str) -> str:
    return text.translate(_LATEX)


def _typewriter(text: str) -> str:
    return rf"\texttt{{{_escape(text)}}}".replace(r"\textbar{}", r"\textbar{}\allowbreak{}")
