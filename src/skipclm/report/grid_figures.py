"""Figures of one pair's grid: heat maps and line plots of the scores."""

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

_MARGIN = 1.3  # width of axis labels and colour bar, in inches
_PANEL = 1.25  # width of a panel's title, in inches
_MIN_FONT_SIZE = 4.5  # in points; cells have no text below this size
_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h"]


def draw_heatmaps(
    scores: pd.DataFrame, stem: str | Path, pair: str, metric: str = "bleu", tests: pd.DataFrame | None = None
) -> None:
    """Draw one pair's grid to `stem`.svg and .png: one heat map per contrastive layer, skip source by skip target.

    `scores` is the table of `selection.grid_scores`. A cell shows the mean over seeds; the best cell is framed. With
    `tests`, the table of `grid_statistics.cells_table`, cells that do not differ significantly from the best have a ≈.
    InputError: the scores have no such pair or metric.
    """
    cells = _labelled_cells(scores, pair, metric)
    is_like_best = _is_like_best(cells, tests, pair)
    cells.loc[is_like_best, "text"] = "≈" + cells["text"]
    panels = list(cells.groupby("contrastive_layer"))
    sources, targets = layers = [sorted(cells[key].unique()) for key in ("skip_source", "skip_target")]
    rows, columns, side = _arrange_panels(len(panels), len(targets))
    width = max(figures.COLUMN, columns * max(len(targets) * side, _PANEL) + _MARGIN)
    height = max(1.7, rows * (len(sources) * side + 0.35) + 0.6)
    font_size = min(7.5, side * 72 / (0.66 * cells["text"].str.len().max()))
    colours = _colour_scale(cells["value"])
    with figures.drawing(stem, (width, height)) as figure:
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for ax, (layer, panel) in zip(axes, panels, strict=False):
            _draw_panel(ax, panel, layers, colours, side, font_size)
            ax.set_title(f"contrastive layer {layer}")
        figures.hide_unused(axes, len(panels), columns)
        _frame_best(axes, cells, [layer for layer, _ in panels], layers)
        figure.supxlabel("skip target (layer)", fontsize=8)
        figure.supylabel("skip source (layer)", fontsize=8)
        title = _title(cells, pair, "framed", "\nhatched: ")
        if is_like_best.any() and font_size >= _MIN_FONT_SIZE:
            title += "\n≈ cannot be told from the best (p ≥ 0.05, corrected)"
        figure.suptitle(title, fontsize=8)
        bar = figure.colorbar(colours, ax=list(axes), aspect=25, pad=0.02, label=f"validation {label(metric)}")
        bar.outline.set_visible(False)


def draw_curve(scores: pd.DataFrame, stem: str | Path, pair: str, metric: str = "bleu") -> None:
    """Draw one pair's validation score over the skip target to `stem`.svg and .png.

    There is one line per contrastive layer (colour and line style) and skip source (marker). Error bars show the range
    of the seeds; the best cell is circled. If the grid has only one target, the x axis is the source; if it also has
    only one source, the x axis is the contrastive layer.
    InputError: the scores have no such pair or metric.
    """
    cells = _labelled_cells(scores, pair, metric)
    x, hue, marker = _curve_axes(cells)
    hues, markers = (sorted(cells[key].unique()) for key in (hue, marker))
    cells["x"] = cells[x] + _line_offsets(cells, x, [hue, marker])
    entries = len(hues) + len(markers) + 3
    with figures.drawing(stem, (figures.COLUMN + 1.3, max(2.6, 0.16 * entries))) as figure:
        ax = figure.subplots()
        for (hue_value, marker_value), line in cells.groupby([hue, marker]):
            # With more than 12 lines, only the line of the best cell (index 0) is opaque.
            alpha = 1.0 if len(hues) * len(markers) <= 12 or 0 in line.index else 0.35
            style = figures.line_style(hues, hue_value) | _marker_style(markers, marker_value)
            _draw_line(ax, line, style | {"alpha": alpha})
        _mark_cells(ax, cells)
        ax.set_xticks(sorted(cells[x].unique()))
        ax.margins(x=0.08, y=0.1)
        ax.set_xlabel(f"{figures.display_name(x)} (layer)" if x.startswith("skip") else figures.display_name(x))
        seeds = " (bars: range of seeds)" if cells["seeds"].max() > 1 else ""
        ax.set_ylabel(f"validation {label(metric)}{seeds}")
        ax.set_title(_title(cells, pair, "circled"))
        _curve_legend(figure, cells, hue, marker)


def _labelled_cells(scores: pd.DataFrame, pair: str, metric: str) -> pd.DataFrame:
    """Return the cells of a pair, best first, with the column `text`: the score or what happened to the cell."""
    if metric not in scores or pair not in set(scores["pair"]):
        raise InputError(
            f"expected {metric} of {pair} in the grid's scores, found none; check the metrics and the pairs"
        )
    cells = rank_cells(scores[scores["pair"] == pair], metric)
    digits = 1 if cells["value"].max() - cells["value"].min() >= 1 else 2  # so that different scores print differently
    lost_text = {"diverged": "div.", "failed": "fail"}
    cells["text"] = [lost_text.get(cell.lost, f"{cell.value:.{digits}f}") for cell in cells.itertuples()]
    return cells


def _is_like_best(cells: pd.DataFrame, tests: pd.DataFrame | None, pair: str) -> pd.Series:
    """Return for each of the ranked cells whether it is not the best, but does not differ significantly from it."""
    if tests is None:
        return pd.Series(False, index=cells.index)
    like_best = tests[(tests["pair"] == pair) & tests["like_best"]]
    in_tests = cells[TRIPLE].apply(tuple, axis=1).isin(like_best[TRIPLE].itertuples(index=False, name=None))
    return in_tests & (cells.index > 0)


def _title(cells: pd.DataFrame, pair: str, mark: str, note: str = "") -> str:
    """Return a title that names the best of the ranked cells and its `mark`.

    If cells have no value, the title ends with `note` and the statuses of these cells.
    """
    best, lost = cells.iloc[0], _lost_statuses(cells)
    if best["lost"]:
        return f"{pair}: all cells {lost}"
    note = note and lost and note + lost
    contrastive, source, target = best[TRIPLE]
    return f"{pair}, best {best['text']} ({mark}): contrastive {contrastive}, skip {source} → {target}{note}"


def _lost_statuses(cells: pd.DataFrame) -> str:
    """Return the statuses of the cells without a value: diverged, failed or both; empty if all have a value."""
    return " or ".join(sorted(set(cells["lost"]) - {""}))


def _colour_scale(values: pd.Series) -> ScalarMappable:
    """Return the colour scale of all panels; if all values are equal or there are none, its width is 1."""
    low, high = (values.min(), values.max()) if values.notna().any() else (0.5, 0.5)
    padding = 0.5 if low == high else 0.0
    return ScalarMappable(Normalize(low - padding, high + padding), figures.VIRIDIS)


def _arrange_panels(panels: int, targets: int) -> tuple[int, int, float]:
    """Return the rows and columns of panels, and the largest side of a cell in inches that fits on the page."""
    available = figures.PAGE - _MARGIN
    columns = min(panels, max(3, int(available / max(targets * 0.4, _PANEL))))
    rows = math.ceil(panels / columns)
    columns = math.ceil(panels / rows)  # balances the rows: 4 panels are 2 x 2, not 3 + 1
    return rows, columns, min(0.5, available / (columns * targets))


def _draw_panel(
    ax: Axes, panel: pd.DataFrame, layers: list[list], colours: ScalarMappable, side: float, font_size: float
) -> None:
    """Draw the cells of one contrastive layer; combinations that were not run are blank.

    `layers` are the skip sources and the skip targets of the grid.
    """
    sources, targets = layers
    matrix = panel.pivot(index="skip_source", columns="skip_target", values="value")
    matrix = matrix.reindex(index=sources, columns=targets)
    ax.pcolormesh(matrix, cmap=colours.cmap, norm=colours.norm, edgecolors="white", linewidth=0.6)
    for cell in panel.itertuples():
        x, y = targets.index(cell.skip_target), sources.index(cell.skip_source)
        if cell.lost:
            ax.add_patch(Rectangle((x, y), 1, 1, facecolor="white", edgecolor="0.6", hatch="/////", linewidth=0))
        if font_size >= _MIN_FONT_SIZE:
            _write_text(ax, (x, y), cell.text, font_size, colours.to_rgba(cell.value), blank=math.isnan(cell.value))
    step = math.ceil(0.17 / side)  # a tick label needs 0.17 inches
    ax.set_xticks(np.arange(len(targets))[::step] + 0.5, targets[::step])
    ax.set_yticks(np.arange(len(sources))[::step] + 0.5, sources[::step])
    ax.set_ylim(len(sources), 0)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _write_text(
    ax: Axes, corner: tuple[int, int], text: str, font_size: float, colour: tuple[float, ...], blank: bool
) -> None:
    """Write a cell's text in black or white, depending on the lightness of its `colour`; black if it is `blank`."""
    red, green, blue, _ = colour
    is_light = blank or 0.299 * red + 0.587 * green + 0.114 * blue > 0.46
    style = {"ha": "center", "va": "center", "fontsize": font_size, "color": "black" if is_light else "white"}
    box = {"facecolor": "white", "linewidth": 0, "pad": 0.5} if blank else None
    ax.text(corner[0] + 0.5, corner[1] + 0.5, text, bbox=box, **style)


def _frame_best(axes: Sequence[Axes], cells: pd.DataFrame, contrastive_layers: list, layers: list[list]) -> None:
    """Frame the best of the ranked cells in black and white, which is visible on any colour."""
    if cells["lost"].iloc[0]:
        return
    contrastive, source, target = cells[TRIPLE].iloc[0]
    sources, targets = layers
    corner = (targets.index(target), sources.index(source))
    for width, colour in ((3.2, "white"), (1.6, "black")):
        frame = Rectangle(corner, 1, 1, fill=False, edgecolor=colour, linewidth=width, zorder=3, clip_on=False)
        axes[contrastive_layers.index(contrastive)].add_patch(frame)


def _curve_axes(cells: pd.DataFrame) -> tuple[str, str, str]:
    """Return the layers of the triple that determine the x axis, the colour and the marker."""
    order = ["skip_target", "skip_source", "contrastive_layer"]
    x = next((key for key in order if cells[key].nunique() > 1), order[0])
    marker, hue = (key for key in ["skip_source", "skip_target", "contrastive_layer"] if key != x)
    return x, hue, marker


def _line_offsets(cells: pd.DataFrame, x: str, line_keys: list[str]) -> pd.Series:
    """Return a small x offset for each line, so that the error bars do not overlap; 0 if there is only one seed."""
    if cells["seeds"].max() == 1:
        return pd.Series(0.0, index=cells.index)
    line_numbers = cells.groupby(line_keys).ngroup()
    gap = np.diff(sorted(cells[x].unique())).min() if cells[x].nunique() > 1 else 1.0
    return 0.3 * gap * (line_numbers - line_numbers.max() / 2) / max(1, line_numbers.max())


def _draw_line(ax: Axes, line: pd.DataFrame, style: dict) -> None:
    """Draw one line with error bars from the lowest to the highest seed; cells without a value are gaps."""
    line = line.sort_values("x")
    errors = [line["value"] - line["low"], line["high"] - line["value"]] if line["seeds"].max() > 1 else None
    ax.errorbar(line["x"], line["value"], yerr=errors, elinewidth=0.8, **style)


def _mark_cells(ax: Axes, cells: pd.DataFrame) -> None:
    """Circle the best cell, and draw a cross at the bottom of the axes for each cell without a value."""
    best, lost = cells.iloc[0], cells[cells["lost"] != ""]
    if best["lost"]:
        ax.set_yticks([])
    else:
        ring = {"marker": "o", "markersize": 9, "fillstyle": "none", "color": "black", "markeredgewidth": 1}
        ax.plot(best["x"], best["value"], **ring)
    ax.plot(lost["x"], [0.03] * len(lost), "x", color="0.4", transform=ax.get_xaxis_transform())


def _curve_legend(figure: Figure, cells: pd.DataFrame, hue: str, marker: str) -> None:
    """Add the legend of colours and markers, each under its own heading."""
    hues, markers = (sorted(cells[key].unique()) for key in (hue, marker))
    handles = [_heading(hue)]
    handles += [Line2D([], [], **figures.line_style(hues, value), label=str(value)) for value in hues]
    handles += [_heading(marker)]
    handles += [
        Line2D([], [], **_marker_style(markers, value), color="0.3", linestyle="", label=str(value))
        for value in markers
    ]
    if lost := _lost_statuses(cells):
        handles += [Line2D([], [], marker="x", color="0.4", linestyle="", label=lost)]
    figure.legend(handles=handles, loc="outside right upper")


def _heading(key: str) -> Line2D:
    return Line2D([], [], linestyle="", label=figures.display_name(key))


def _marker_style(values: list, value: int) -> dict:
    return {"marker": _MARKERS[values.index(value) % len(_MARKERS)]}
