"""Draw one pair's grid: heat maps, and the curve of its scores."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from skipclm.analysis.selection import TRIPLE, rank_cells
from skipclm.errors import InputError
from skipclm.evaluation.metrics import label
from skipclm.report import figures

_MARGIN = 1.3  # inches that axis labels and the colour bar take
_PANEL = 1.25  # inches that a panel's title takes
_SMALLEST = 4.5  # points; smaller text in cells is left out
_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h"]


def draw_heatmaps(
    scores: pd.DataFrame, stem: str | Path, pair: str, metric: str = "bleu", compared: pd.DataFrame | None = None
) -> None:
    """Draw one pair's grid to `stem`.svg and .png: a panel per contrastive layer, source over target.

    `scores` is the table of `selection.grid_scores`; a cell shows the mean over seeds, the best is framed. With
    `compared`, the table of `grid_statistics.cells_table`, the others that cannot be told from it are marked.
    InputError: no such pair or metric in the scores.
    """
    cells = _ranked(scores, pair, metric)
    alike = _alike(cells, compared, pair)
    cells.loc[alike, "text"] = "≈" + cells["text"]
    panels = list(cells.groupby("contrastive_layer"))
    sources, targets = grid = [sorted(cells[key].unique()) for key in ("skip_source", "skip_target")]
    rows, columns, side = _tile(len(panels), len(targets))
    width = max(figures.COLUMN, columns * max(len(targets) * side, _PANEL) + _MARGIN)
    height = max(1.7, rows * (len(sources) * side + 0.35) + 0.6)
    size = min(7.5, side * 72 / (0.66 * cells["text"].str.len().max()))  # of the text in cells
    colour = _colours(cells["value"])
    with figures.drawing(stem, (width, height)) as figure:
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for ax, (layer, panel) in zip(axes, panels, strict=False):
            _draw_panel(ax, panel, grid, colour, side, size)
            ax.set_title(f"contrastive layer {layer}")
        figures.hide_spare(axes, len(panels), columns)
        _frame_best(axes, cells, [layer for layer, _ in panels], grid)
        figure.supxlabel("skip target (layer)", fontsize=8)
        figure.supylabel("skip source (layer)", fontsize=8)
        title = _title(cells, pair, "framed", "\nhatched: ")
        if alike.any() and size >= _SMALLEST:
            title += "\n≈ cannot be told from the best (p ≥ 0.05, corrected)"
        figure.suptitle(title, fontsize=8)
        bar = figure.colorbar(colour, ax=list(axes), aspect=25, pad=0.02, label=f"validation {label(metric)}")
        bar.outline.set_visible(False)


def draw_curve(scores: pd.DataFrame, stem: str | Path, pair: str, metric: str = "bleu") -> None:
    """Draw one pair's validation score over the skip target to `stem`.svg and .png.

    A line per contrastive layer (colour and line style) and skip source (marker); bars span the lowest to
    the highest seed, the best cell is circled. Where the grid holds one target only, the x axis shows the
    source instead, and where it holds one source too, the contrastive layer.
    InputError: no such pair or metric in the scores.
    """
    cells = _ranked(scores, pair, metric)
    x, hue, marker = _curve_axes(cells)
    hues, markers = (sorted(cells[key].unique()) for key in (hue, marker))
    cells["x"] = cells[x] + _dodge(cells, x, [hue, marker])
    entries = len(hues) + len(markers) + 3
    with figures.drawing(stem, (figures.COLUMN + 1.3, max(2.6, 0.16 * entries))) as figure:
        ax = figure.subplots()
        for (hue_value, marker_value), line in cells.groupby([hue, marker]):
            # of many lines, the one of the best cell stands out
            alpha = 1.0 if len(hues) * len(markers) <= 12 or 0 in line.index else 0.35
            style = figures.line_style(hues, hue_value) | _marker(markers, marker_value)
            _draw_line(ax, line, style | {"alpha": alpha})
        _mark_cells(ax, cells)
        ax.set_xticks(sorted(cells[x].unique()))
        ax.margins(x=0.08, y=0.1)
        ax.set_xlabel(f"{figures.in_words(x)} (layer)" if x.startswith("skip") else figures.in_words(x))
        seeds = " (bars: range of seeds)" if cells["seeds"].max() > 1 else ""
        ax.set_ylabel(f"validation {label(metric)}{seeds}")
        ax.set_title(_title(cells, pair, "circled"))
        _curve_legend(figure, cells, hue, marker)


def _ranked(scores: pd.DataFrame, pair: str, metric: str) -> pd.DataFrame:
    if metric not in scores or pair not in set(scores["pair"]):
        raise InputError(
            f"expected {metric} of {pair} in the grid's scores, found none; check the metrics and the pairs"
        )
    cells = rank_cells(scores[scores["pair"] == pair], metric)
    digits = 1 if cells["value"].max() - cells["value"].min() >= 1 else 2  # cells that differ should look it
    words = {"diverged": "div.", "failed": "fail"}
    cells["text"] = [words.get(cell.lost, f"{cell.value:.{digits}f}") for cell in cells.itertuples()]
    return cells


def _alike(cells: pd.DataFrame, compared: pd.DataFrame | None, pair: str) -> pd.Series:
    """Tell of ranked cells which others cannot be told from the best."""
    if compared is None:
        return pd.Series(False, index=cells.index)
    alike = compared[(compared["pair"] == pair) & compared["like_best"]]
    found = cells[TRIPLE].apply(tuple, axis=1).isin(alike[TRIPLE].itertuples(index=False, name=None))
    return found & (cells.index > 0)


def _title(cells: pd.DataFrame, pair: str, how: str, note: str = "") -> str:
    """Name the best cell of ranked cells and `how` the figure marks it; after `note` comes what became of lost ones."""
    best, lost = cells.iloc[0], _lost(cells)
    if best["lost"]:
        return f"{pair}: all cells {lost}"
    note = note and lost and note + lost
    contrastive, source, target = best[TRIPLE]
    return f"{pair}, best {best['text']} ({how}): contrastive {contrastive}, skip {source} → {target}{note}"


def _lost(cells: pd.DataFrame) -> str:
    """Say what became of the cells without a value: diverged, failed or both."""
    return " or ".join(sorted(set(cells["lost"]) - {""}))


def _colours(values: pd.Series) -> ScalarMappable:
    """Return the colour scale shared by all panels; one value, or none, gets a scale of width one."""
    low, high = (values.min(), values.max()) if values.notna().any() else (0.5, 0.5)
    room = 0.5 if low == high else 0.0
    return ScalarMappable(Normalize(low - room, high + room), figures.VIRIDIS)


def _tile(panels: int, targets: int) -> tuple[int, int, float]:
    """Return rows and columns of panels, and the side of a cell in inches: as large as the page allows."""
    room = figures.PAGE - _MARGIN
    columns = min(panels, max(3, int(room / max(targets * 0.4, _PANEL))))
    rows = math.ceil(panels / columns)
    columns = math.ceil(panels / rows)  # 4 panels stand 2 x 2, not 3 + 1
    return rows, columns, min(0.5, room / (columns * targets))


def _draw_panel(
    ax: Axes, panel: pd.DataFrame, grid: list[list], colour: ScalarMappable, side: float, size: float
) -> None:
    """Draw the cells of one contrastive layer; a combination that was not run stays blank."""
    sources, targets = grid
    matrix = panel.pivot(index="skip_source", columns="skip_target", values="value")
    matrix = matrix.reindex(index=sources, columns=targets)
    ax.pcolormesh(matrix, cmap=colour.cmap, norm=colour.norm, edgecolors="white", linewidth=0.6)
    for cell in panel.itertuples():
        x, y = targets.index(cell.skip_target), sources.index(cell.skip_source)
        if cell.lost:
            ax.add_patch(Rectangle((x, y), 1, 1, facecolor="white", edgecolor="0.6", hatch="/////", linewidth=0))
        if size >= _SMALLEST:
            _write(ax, x, y, cell.text, size, colour, cell.value)
    every = math.ceil(0.17 / side)  # tick labels need this much room, in inches
    ax.set_xticks(np.arange(len(targets))[::every] + 0.5, targets[::every])
    ax.set_yticks(np.arange(len(sources))[::every] + 0.5, sources[::every])
    ax.set_ylim(len(sources), 0)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _write(ax: Axes, x: int, y: int, text: str, size: float, colour: ScalarMappable, value: float) -> None:
    """Write a cell's text in black or white, whichever contrasts with its colour."""
    red, green, blue, _ = colour.to_rgba(value)
    light = math.isnan(value) or 0.299 * red + 0.587 * green + 0.114 * blue > 0.46
    box = {"facecolor": "white", "linewidth": 0, "pad": 0.5} if math.isnan(value) else None
    ink = "black" if light else "white"
    ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=size, color=ink, bbox=box)


def _frame_best(axes: Sequence[Axes], cells: pd.DataFrame, layers: list, grid: list[list]) -> None:
    """Frame the best of ranked cells in black on white, which shows on any colour."""
    if cells["lost"].iloc[0]:
        return
    layer, source, target = cells[TRIPLE].iloc[0]
    corner = (grid[1].index(target), grid[0].index(source))
    for width, ink in ((3.2, "white"), (1.6, "black")):
        frame = Rectangle(corner, 1, 1, fill=False, edgecolor=ink, linewidth=width, zorder=3, clip_on=False)
        axes[layers.index(layer)].add_patch(frame)


def _curve_axes(cells: pd.DataFrame) -> tuple[str, str, str]:
    """Return which of the triple goes on the x axis, which sets the colour and which the marker."""
    order = ["skip_target", "skip_source", "contrastive_layer"]
    x = next((key for key in order if cells[key].nunique() > 1), order[0])
    marker, hue = (key for key in ["skip_source", "skip_target", "contrastive_layer"] if key != x)
    return x, hue, marker


def _dodge(cells: pd.DataFrame, x: str, line: list[str]) -> pd.Series:
    """Return a small shift along x per line, so that the bars of several seeds do not hide each other."""
    if cells["seeds"].max() == 1:
        return pd.Series(0.0, index=cells.index)
    number = cells.groupby(line).ngroup()
    gap = np.diff(sorted(cells[x].unique())).min() if cells[x].nunique() > 1 else 1.0
    return 0.3 * gap * (number - number.max() / 2) / max(1, number.max())


def _draw_line(ax: Axes, line: pd.DataFrame, style: dict) -> None:
    """Draw one line of the curve, with bars from the lowest to the highest seed; lost cells are gaps."""
    line = line.sort_values("x")
    spread = [line["value"] - line["low"], line["high"] - line["value"]] if line["seeds"].max() > 1 else None
    ax.errorbar(line["x"], line["value"], yerr=spread, elinewidth=0.8, **style)


def _mark_cells(ax: Axes, cells: pd.DataFrame) -> None:
    """Circle the best cell, and put a cross at the foot of the axes where a cell is lost."""
    best, lost = cells.iloc[0], cells[cells["lost"] != ""]
    if best["lost"]:
        ax.set_yticks([])
    else:
        ring = {"marker": "o", "markersize": 9, "fillstyle": "none", "color": "black", "markeredgewidth": 1}
        ax.plot(best["x"], best["value"], **ring)
    ax.plot(lost["x"], [0.03] * len(lost), "x", color="0.4", transform=ax.get_xaxis_transform())


def _curve_legend(figure: Figure, cells: pd.DataFrame, hue: str, marker: str) -> None:
    """Explain colours and markers beside the axes, under a heading each."""
    hues, markers = (sorted(cells[key].unique()) for key in (hue, marker))
    handles = [_heading(hue)]
    handles += [Line2D([], [], **figures.line_style(hues, value), label=str(value)) for value in hues]
    handles += [_heading(marker)]
    handles += [
        Line2D([], [], **_marker(markers, value), color="0.3", linestyle="", label=str(value)) for value in markers
    ]
    if _lost(cells):
        handles += [Line2D([], [], marker="x", color="0.4", linestyle="", label=_lost(cells))]
    figure.legend(handles=handles, loc="outside right upper")


def _heading(key: str) -> Line2D:
    return Line2D([], [], linestyle="", label=figures.in_words(key))


def _marker(values: list, value: int) -> dict:
    return {"marker": _MARKERS[values.index(value) % len(_MARKERS)]}
