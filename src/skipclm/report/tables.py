"""The ablation as tables for people: Markdown, LaTeX, HTML and plain text."""

import textwrap
from dataclasses import dataclass, replace
from html import escape

import pandas as pd

from skipclm.errors import InputError
from skipclm.evaluation.metrics import RATES, label
from skipclm.report.table_legend import MARKS, are_rates, legend, plain, sign, signatures

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


_WIDTH = 6  # columns of numbers that fit a page beside each other; further pairs go below ...
_HEIGHT = 36  # ... as many lines of which fit a page with the caption


def to_markdown(summary: pd.DataFrame) -> str:
    """Print a summary as Markdown tables with their legends: variants in rows, pairs x metrics in columns."""
    return "\n".join(map(_markdown_table, _parts(summary)))


def _parts(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """Return for each test set the part on quality and that on what goes wrong, as far as there are such metrics."""
    if summary.empty:
        raise InputError("expected at least one scored run for the table, found none; run the ablation first")
    return [part for _, part in summary.groupby([_order(summary["split"]), summary["metric"].isin(RATES)])]


def _order(values: pd.Series) -> pd.Series:
    """Number values by where they first appear."""
    return values.map({value: number for number, value in enumerate(values.unique())})


def _markdown_table(summary: pd.DataFrame) -> str:
    blocks = "\n\n".join(map(_markdown_block, _lay_out(summary)))
    listed = [f"- {name}: `{signature}`" for name, signature in signatures(summary)]
    return "\n".join([blocks, "", legend(summary), "", "Signatures:", "", *listed, ""])


def _markdown_block(block: "_Block") -> str:
    heads = ["variant", *(f"{pair} {label(metric)}" for pair, metric in block.columns)]
    lines = [heads, ["---"] + ["---:"] * len(block.columns)]
    lines += [[plain(variant), *map(_markdown_cell, cells)] for variant, cells in block.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_html(summary: pd.DataFrame) -> str:
    """Print a summary as a page by itself: the tables with their legends and signatures."""
    parts = "\n".join(map(_html_table, _parts(summary)))
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
{parts}
</html>
"""


def _html_table(summary: pd.DataFrame) -> str:
    blocks = "\n".join(map(_html_block, _lay_out(summary)))
    listed = "\n".join(
        f"<li>{escape(name)}: <code>{escape(signature)}</code></li>" for name, signature in signatures(summary)
    )
    return f"""<table>
<caption>
<p>{escape(legend(summary))}</p>
<ul>
{listed}
</ul>
</caption>
{blocks}
</table>"""


def _html_block(block: "_Block") -> str:
    groups = "".join(f'<th colspan="{block.span}">{escape(pair)}</th>' for pair in block.pairs)
    heads = "".join(f"<th>{escape(label(metric))}</th>" for _, metric in block.columns)
    body = "\n".join(
        f"<tr><th>{escape(plain(variant))}</th>{''.join(f'<td>{_html_cell(cell)}</td>' for cell in cells)}</tr>"
        for variant, cells in block.rows
    )
    return f"<tbody>\n<tr><th></th>{groups}</tr>\n<tr><th>variant</th>{heads}</tr>\n{body}\n</tbody>"


def to_latex(summary: pd.DataFrame) -> str:
    r"""Print a summary's quality as a LaTeX table for each test set; they need only \usepackage{booktabs}."""
    parts = _parts(summary)
    return "\n".join(map(_latex_table, [part for part in parts if not are_rates(part)] or parts[:1]))


def _latex_table(summary: pd.DataFrame) -> str:
    """Return a float, or as many as the blocks of pairs need; the caption of the first is that of all."""
    blocks, split = _lay_out(summary), summary["split"].iloc[0]
    width = max(len(cell.mean) for block in blocks for _, cells in block.rows for cell in cells)
    label_of_split = "ablation" if split == "test" else f"ablation-{split}"
    listed = "; ".join(f"{_escape(name)} {_typewriter(text)}" for name, text in signatures(summary))
    below = [
        rf"\caption{{{_escape(legend(summary))}{listed and f' Signatures: {listed}.'}}}",
        rf"\label{{tab:{label_of_split}}}",
    ]
    step = max(1, _HEIGHT // (len(blocks[0].rows) + 3))
    floats = [_latex_float(blocks[:step], width, below)]
    for start in range(step, len(blocks), step):
        more = [rf"\caption{{Further pairs of table~\ref{{tab:{label_of_split}}}.}}"]
        floats.append(_latex_float(blocks[start : start + step], width, more))
    return "\n".join(floats)


def _latex_float(blocks: list["_Block"], width: int, below: list[str]) -> str:
    table = "table" if len(blocks[0].columns) <= _WIDTH // 2 else "table*"  # which spans both columns of a page
    lines = [
        rf"\begin{{{table}}}",
        r"\centering\small\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{{'l' * (len(blocks[0].columns) + 1)}}}",
        r"\toprule",
        "\n\\midrule\n".join(_latex_block(block, width) for block in blocks),
        r"\bottomrule",
        r"\end{tabular}",
        *below,
        rf"\end{{{table}}}",
    ]
    return "\n".join(lines) + "\n"


def _latex_block(block: "_Block", width: int) -> str:
    """Return two head rows, each pair over its metrics, with the rules between, and the body."""
    groups = " & ".join(rf"\multicolumn{{{block.span}}}{{c}}{{{_escape(pair)}}}" for pair in block.pairs)
    starts = range(2, len(block.columns) + 2, block.span)
    rules = " ".join(rf"\cmidrule(lr){{{start}-{start + block.span - 1}}}" for start in starts)
    metrics = " & ".join(_escape(label(metric)) for _, metric in block.columns)
    body = [[_escape(plain(variant)), *(_latex_cell(cell, width) for cell in cells)] for variant, cells in block.rows]
    heads = [rf" & {groups} \\", rules, rf"variant & {metrics} \\", r"\midrule"]
    return "\n".join([*heads, *(" & ".join(line) + r" \\" for line in body)])


def to_text(summary: pd.DataFrame) -> str:
    """Print a summary as aligned tables for a terminal; a star follows the best mean of a column."""
    return "\n".join(map(_text_table, _parts(summary)))


def _text_table(summary: pd.DataFrame) -> str:
    blocks = "\n\n".join(map(_text_block, _lay_out(summary)))
    return "\n".join([blocks, "", textwrap.fill(legend(summary, best="starred"), width=100), ""])


def _text_block(block: "_Block") -> str:
    lines = [["", *(pair for pair, _ in block.columns)], ["variant", *(label(metric) for _, metric in block.columns)]]
    lines += [[plain(variant), *map(_text_cell, cells)] for variant, cells in block.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


@dataclass(frozen=True)
class _Cell:
    """The printed parts of one cell; an empty part is not printed."""

    mean: str = ""
    spread: str = ""
    count: str = ""  # seeds used of seeds asked for, where they differ
    best: bool = False
    mark: str = ""  # of a difference from the baseline that is more than chance


@dataclass(frozen=True)
class _Block:
    """Columns (pair, metric) side by side, the same metrics for each pair, and per variant its cells."""

    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[_Cell]]]

    @property
    def pairs(self) -> list[str]:
        return list(dict.fromkeys(pair for pair, _ in self.columns))

    @property
    def span(self) -> int:
        """The number of columns of a pair."""
        return len(self.columns) // len(self.pairs)


def _lay_out(summary: pd.DataFrame) -> list[_Block]:
    """Return the table of one part, as many pairs beside each other as fit."""
    pairs, metrics, variants = (list(summary[key].unique()) for key in ("pair", "metric", "variant"))
    found = {(row.pair, row.variant, row.metric): row for row in summary.itertuples()}
    best = {(pair, metric): _best(summary, pair, metric) for pair in pairs for metric in metrics}
    step, blocks = max(1, _WIDTH // len(metrics)), []
    for start in range(0, len(pairs), step):
        columns = [(pair, metric) for pair in pairs[start : start + step] for metric in metrics]
        rows = [
            (variant, [_cell(found.get((pair, variant, metric)), best[pair, metric]) for pair, metric in columns])
            for variant in variants
        ]
        blocks.append(_Block(columns, rows))
    return blocks


def _cell(row: tuple | None, best: str) -> _Cell:
    if row is None or pd.isna(row.mean):
        return _Cell()
    return _Cell(
        mean=f"{row.mean:.1f}",
        spread="" if pd.isna(row.sd) else f"{row.sd:.1f}",
        count="" if row.seeds == row.runs else f"{row.seeds}/{row.runs}",
        best=row.seeds == row.runs and f"{row.mean:.1f}" == best,
        mark=MARKS.get(row.verdict, ""),
    )


def _best(summary: pd.DataFrame, pair: str, metric: str) -> str:
    """Return the best mean of a column as printed, so that means that print alike are all marked; none if all do."""
    whole = summary["seeds"] == summary["runs"]  # what is left where a run is lost flatters
    means = summary.loc[whole & (summary["pair"] == pair) & (summary["metric"] == metric), "mean"].dropna()
    if means.empty or (len(means) > 1 and len({f"{mean:.1f}" for mean in means}) == 1):
        return ""
    return {1: f"{means.max():.1f}", -1: f"{means.min():.1f}", 0: ""}[sign(metric)]


def _markdown_cell(cell: _Cell) -> str:
    return _join(cell, f"**{cell.mean}**" if cell.best else cell.mean)


def _html_cell(cell: _Cell) -> str:
    number = _join(replace(cell, mark=""), f"<b>{cell.mean}</b>" if cell.best else cell.mean)
    return f"{number}<i>{cell.mark}</i>"  # as wide with a mark as without, so that numbers stand below each other


def _latex_cell(cell: _Cell, width: int) -> str:
    indent = rf"\phantom{{{'0' * (width - len(cell.mean))}}}" if 0 < len(cell.mean) < width else ""
    mean = rf"\textbf{{{cell.mean}}}" if cell.best else cell.mean
    small = (rf"$\pm${cell.spread}" if cell.spread else "") + (f" ({cell.count})" if cell.count else "")
    small = rf"{{\scriptsize{small}}}" if small else ""
    return f"{indent}{mean}{small}{cell.mark.translate(_LATEX)}" if cell.mean else "--"


def _text_cell(cell: _Cell) -> str:
    return _join(cell, cell.mean + "*" * cell.best)


def _join(cell: _Cell, mean: str) -> str:
    if not cell.mean:
        return "–"
    spread = f" ± {cell.spread}" if cell.spread else ""
    count = f" ({cell.count})" if cell.count else ""
    return f"{mean}{spread}{count}{cell.mark and ' '}{cell.mark}"


def _escape(text: str) -> str:
    return text.translate(_LATEX)


def _typewriter(text: str) -> str:
    return rf"\texttt{{{_escape(text)}}}".replace(r"\textbar{}", r"\textbar{}\allowbreak{}")
