"""Draw the grid, the training and the ablation for a paper's column, as .svg and .png.

Figures are built without pyplot, so nothing here has global state and no display is needed. Colours come
from viridis and from greys, whose lightness alone tells them apart; line styles and markers repeat it.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from skipclm.errors import InputError
from skipclm.metrics import label
from skipclm.selection import TRIPLE, rank_cells

COLUMN, PAGE = 3.3, 6.6  # widths in inches: one column of a paper, and both
_MARGIN = 1.3  # inches that axis labels and the colour bar take
_PANEL = 1.25  # inches that a panel's title takes
_SMALLEST = 4.5  # points; smaller text in cells is left out
_FEW = 8  # runs that one can tell apart

_VIRIDIS = matplotlib.colormaps["viridis"]
_LINES = ["-", "--", "-.", ":"]
_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h"]
_HATCHES = ["", "////", "....", "xxxx", "----", "ooo"]
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
    "svg.hashsalt": "skipclm",  # else every drawing has other ids
}


def grid_heatmaps(scores: pd.DataFrame, stem: str | Path, pair: str, metric: str = "bleu") -> None:
    """Draw one pair's grid to `stem`.svg and .png: a panel per contrastive layer, source over target.

    `scores` is the table of `selection.grid_scores`; a cell shows the mean over seeds, the best is framed.
    InputError: no such pair or metric in the scores.
    """
    cells = _ranked(scores, pair, metric)
    panels = list(cells.groupby("contrastive_layer"))
    sources, targets = grid = [sorted(cells[key].unique()) for key in ("skip_source", "skip_target")]
    rows, columns, side = _tile(len(panels), len(targets))
    width = max(COLUMN, columns * max(len(targets) * side, _PANEL) + _MARGIN)
    height = max(1.7, rows * (len(sources) * side + 0.35) + 0.6)
    colour = _colours(cells["value"])
    with _drawing(stem, (width, height)) as figure:
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for ax, (layer, panel) in zip(axes, panels, strict=False):
            _draw_panel(ax, panel, grid, colour, side)
            ax.set_title(f"contrastive layer {layer}")
        _hide_spare(axes, len(panels), columns)
        _frame_best(axes, cells, [layer for layer, _ in panels], grid)
        figure.supxlabel("skip target (layer)", fontsize=8)
        figure.supylabel("skip source (layer)", fontsize=8)
        figure.suptitle(_title(cells, pair, "framed", "\nhatched: diverged"), fontsize=8)
        bar = figure.colorbar(colour, ax=list(axes), aspect=25, pad=0.02, label=f"validation {label(metric)}")
        bar.outline.set_visible(False)


def grid_curve(scores: pd.DataFrame, stem: str | Path, pair: str, metric: str = "bleu") -> None:
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
    with _drawing(stem, (COLUMN + 1.3, max(2.6, 0.16 * entries))) as figure:
        ax = figure.subplots()
        for (hue_value, marker_value), line in cells.groupby([hue, marker]):
            # of many lines, the one of the best cell stands out
            alpha = 1.0 if len(hues) * len(markers) <= 12 or 0 in line.index else 0.35
            style = _hue(hues, hue_value) | _marker(markers, marker_value)
            _draw_line(ax, line, style | {"alpha": alpha})
        _mark_cells(ax, cells)
        ax.set_xticks(sorted(cells[x].unique()))
        ax.margins(x=0.08, y=0.1)
        ax.set_xlabel(f"{_words(x)} (layer)" if x.startswith("skip") else _words(x))
        seeds = " (bars: range of seeds)" if cells["seeds"].max() > 1 else ""
        ax.set_ylabel(f"validation {label(metric)}{seeds}")
        ax.set_title(_title(cells, pair, "circled"))
        _curve_legend(figure, cells, hue, marker)


def training_curves(histories: dict[str, pd.DataFrame], stem: str | Path, highlight: str | None = None) -> None:
    """Draw the losses of several runs over training steps to `stem`.svg and .png.

    `histories` maps a run's name to its table: step, loss, and where they apply lm_loss, contrastive_loss,
    valid_loss (NaN where not measured). Above eight runs all are light but `highlight`.
    InputError: no runs, or a `highlight` that is not among them.
    """
    if not histories or (highlight and highlight not in histories):
        raise InputError(f"Expected {highlight or 'a run'} among the histories: {', '.join(histories) or 'none'}.")
    styles, few = _run_styles(list(histories), highlight), len(histories) <= _FEW
    contrastive, valid = (
        any(_measured(history, column) for history in histories.values())
        for column in ("contrastive_loss", "valid_loss")
    )
    window = max(1, max(map(len, histories.values())) // 50)
    smooth = f" (running mean of {window} points)" if window > 1 else ""
    with _drawing(stem, (PAGE if contrastive else COLUMN, 2.7)) as figure:
        axes = figure.subplots(1, 1 + contrastive, squeeze=False)[0]
        for name, history in histories.items():
            _draw_losses(axes, history, styles[name], window, few or name == highlight)
        for ax, loss in zip(axes, ("LM loss (nats per token)", "contrastive loss (nats)"), strict=False):
            ax.set_xlabel(f"training step{smooth}")
            ax.set_ylabel(loss)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
        _run_legend(figure, styles, valid and bool(few or highlight), highlight)


def ablation_bars(
    summary: pd.DataFrame,
    stem: str | Path,
    metric: str = "bleu",
    scores: pd.DataFrame | None = None,
    split: str = "test",
) -> None:
    """Draw the ablation to `stem`.svg and .png: a panel per pair, a bar per variant, whiskers of one sd.

    `summary` is the table of `tables.summarise`; the tidy `scores` behind it add a dot per seed.
    InputError: no such metric in the summary.
    """
    summary = summary[summary["metric"] == metric]
    if summary.empty:
        raise InputError(f"Expected {metric} in the ablation's summary, found none. Add it to the metrics.")
    pairs, variants = (list(summary[key].unique()) for key in ("pair", "variant"))
    scores = scores if (summary["seeds"] > 1).any() else None  # one dot per bar says nothing new
    rows = math.ceil(len(pairs) / 3)
    columns = math.ceil(len(pairs) / rows)
    width = max(COLUMN, 1.0 + columns * (PAGE - 1.0) / 3)
    with _drawing(stem, (width, rows * (0.24 * len(variants) + 0.35) + 0.3)) as figure:
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for ax, pair in zip(axes, pairs, strict=False):
            _draw_bars(ax, summary[summary["pair"] == pair], variants)
            if scores is not None:
                _draw_seeds(ax, scores[(scores["pair"] == pair) & (scores["metric"] == metric)], variants)
            ax.set_title(pair)
        _hide_spare(axes, len(pairs), columns)
        axes[0].set_xlim(0, _right_end(summary))
        spread = ", mean ± sd" if summary["sd"].notna().any() else ""
        dots = "" if scores is None else ", dots: seeds"
        figure.supxlabel(f"{split} {label(metric)}{spread}{dots}", fontsize=8)


@contextmanager
def _drawing(stem: str | Path, size: tuple[float, float]) -> Iterator[Figure]:
    """Yield an empty figure of `size` inches in the house style; save it if the block succeeds."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        _save(figure, Path(stem))


def _save(figure: Figure, stem: Path) -> None:
    """Write both formats whole or not at all, without dates, so that equal figures are equal files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind, metadata in {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}.items():
        temporary = stem.with_name(f".{stem.name}.tmp.{kind}")
        try:
            figure.savefig(temporary, format=kind, metadata=metadata)
            temporary.replace(stem.with_name(f"{stem.name}.{kind}"))
        finally:
            temporary.unlink(missing_ok=True)


def _hide_spare(axes: Sequence[Axes], used: int, columns: int) -> None:
    """Hide the panels that are not used, and give the tick labels they had to the panels above them."""
    for number in range(used, len(axes)):
        axes[number].set_visible(False)
        axes[number - columns].tick_params(labelbottom=True)


# --- the grid ---------------------------------------------------------------------------------------------


def _ranked(scores: pd.DataFrame, pair: str, metric: str) -> pd.DataFrame:
    if metric not in scores or pair not in set(scores["pair"]):
        raise InputError(f"Expected {metric} of {pair} in the grid's scores. Check the metrics and the pairs.")
    return rank_cells(scores[scores["pair"] == pair], metric)


def _title(cells: pd.DataFrame, pair: str, how: str, note: str = "") -> str:
    """Name the best cell of ranked cells and `how` the figure marks it; `note` explains diverged ones."""
    best = cells.iloc[0]
    if best["diverged"]:
        return f"{pair}: all cells diverged"
    note = note if cells["diverged"].any() else ""
    contrastive, source, target = best[TRIPLE]
    return f"{pair}, best {best['value']:.1f} ({how}): contrastive {contrastive}, skip {source} → {target}{note}"


def _colours(values: pd.Series) -> ScalarMappable:
    """Return the colour scale shared by all panels; one value, or none, gets a scale of width one."""
    low, high = (values.min(), values.max()) if values.notna().any() else (0.5, 0.5)
    room = 0.5 if low == high else 0.0
    return ScalarMappable(Normalize(low - room, high + room), _VIRIDIS)


def _tile(panels: int, targets: int) -> tuple[int, int, float]:
    """Return rows and columns of panels, and the side of a cell in inches: as large as the page allows."""
    room = PAGE - _MARGIN
    columns = min(panels, max(3, int(room / max(targets * 0.4, _PANEL))))
    rows = math.ceil(panels / columns)
    columns = math.ceil(panels / rows)  # 4 panels stand 2 x 2, not 3 + 1
    return rows, columns, min(0.5, room / (columns * targets))


def _draw_panel(ax: Axes, panel: pd.DataFrame, grid: list[list], colour: ScalarMappable, side: float) -> None:
    """Draw the cells of one contrastive layer; a combination that was not run stays blank."""
    sources, targets = grid
    matrix = panel.pivot(index="skip_source", columns="skip_target", values="value")
    matrix = matrix.reindex(index=sources, columns=targets)
    ax.pcolormesh(matrix, cmap=colour.cmap, norm=colour.norm, edgecolors="white", linewidth=0.6)
    texts = {cell.Index: "div." if cell.diverged else f"{cell.value:.1f}" for cell in panel.itertuples()}
    size = min(7.5, side * 72 / (0.66 * max(map(len, texts.values()))))
    for cell in panel.itertuples():
        x, y = targets.index(cell.skip_target), sources.index(cell.skip_source)
        if cell.diverged:
            ax.add_patch(Rectangle((x, y), 1, 1, facecolor="white", edgecolor="0.6", hatch="/////", linewidth=0))
        if size >= _SMALLEST:
            _write(ax, x, y, texts[cell.Index], size, colour, cell.value)
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
    if cells["diverged"].iloc[0]:
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
    """Draw one line of the curve, with bars from the lowest to the highest seed; diverged cells are gaps."""
    line = line.sort_values("x")
    spread = [line["value"] - line["low"], line["high"] - line["value"]] if line["seeds"].max() > 1 else None
    ax.errorbar(line["x"], line["value"], yerr=spread, elinewidth=0.8, **style)


def _mark_cells(ax: Axes, cells: pd.DataFrame) -> None:
    """Circle the best cell, and put a cross at the foot of the axes where a cell diverged."""
    best, diverged = cells.iloc[0], cells[cells["diverged"]]
    if best["diverged"]:
        ax.set_yticks([])
    else:
        ring = {"marker": "o", "markersize": 9, "fillstyle": "none", "color": "black", "markeredgewidth": 1}
        ax.plot(best["x"], best["value"], **ring)
    ax.plot(diverged["x"], [0.03] * len(diverged), "x", color="0.4", transform=ax.get_xaxis_transform())


def _curve_legend(figure: Figure, cells: pd.DataFrame, hue: str, marker: str) -> None:
    """Explain colours and markers beside the axes, under a heading each."""
    hues, markers = (sorted(cells[key].unique()) for key in (hue, marker))
    handles = [_heading(hue)]
    handles += [Line2D([], [], **_hue(hues, value), label=str(value)) for value in hues]
    handles += [_heading(marker)]
    handles += [
        Line2D([], [], **_marker(markers, value), color="0.3", linestyle="", label=str(value)) for value in markers
    ]
    if cells["diverged"].any():
        handles += [Line2D([], [], marker="x", color="0.4", linestyle="", label="diverged")]
    figure.legend(handles=handles, loc="outside right upper")


def _heading(key: str) -> Line2D:
    return Line2D([], [], linestyle="", label=_words(key))


def _hue(values: list, value: int) -> dict:
    number = values.index(value)
    return {"color": _ramp(len(values))[number], "linestyle": _LINES[number % len(_LINES)]}


def _marker(values: list, value: int) -> dict:
    return {"marker": _MARKERS[values.index(value) % len(_MARKERS)]}


# --- training ---------------------------------------------------------------------------------------------


def _run_styles(names: list[str], highlight: str | None) -> dict[str, dict]:
    """Return a line style per run: distinct for few runs; light for many, so that `highlight` stands out."""
    if len(names) > _FEW:
        styles = {name: {"color": "0.7", "linewidth": 0.6} for name in names}
    else:
        styles = {name: _hue(names, name) for name in names}
    if highlight:
        styles[highlight] |= {"color": "black", "linestyle": "-", "linewidth": 1.8, "zorder": 3}
    return styles


def _measured(history: pd.DataFrame, column: str) -> bool:
    return column in history and bool(history[column].notna().any())


def _draw_losses(axes: Sequence[Axes], history: pd.DataFrame, style: dict, window: int, valid: bool) -> None:
    """Draw one run: its LM losses, with validation if `valid`, and its contrastive loss."""
    train = "lm_loss" if _measured(history, "lm_loss") else "loss"
    for ax, column in ((axes[0], train), (axes[-1], "contrastive_loss")):
        if _measured(history, column):
            rows = history.dropna(subset=column)
            ax.plot(rows["step"], rows[column].rolling(window, min_periods=1, center=True).mean(), **style)
    if valid and _measured(history, "valid_loss"):
        rows = history.dropna(subset="valid_loss")
        axes[0].plot(rows["step"], rows["valid_loss"], **style | {"linewidth": 0.6, "marker": "o", "markersize": 3})


def _run_legend(figure: Figure, styles: dict[str, dict], valid: bool, highlight: str | None) -> None:
    """Name the runs below the panels; of many only the highlighted one."""
    few = len(styles) <= _FEW
    named = list(styles) if few else [highlight] * bool(highlight)
    handles = [Line2D([], [], **styles[name], label=_words(name)) for name in named]
    if not few:
        others = len(styles) - len(named)
        handles += [Line2D([], [], color="0.7", linewidth=0.6, label=f"{others} {'other ' * bool(named)}runs")]
    if valid:
        handles += [Line2D([], [], color="0.3", linewidth=0.6, marker="o", markersize=3, label="validation")]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))


# --- the ablation -----------------------------------------------------------------------------------------


def _draw_bars(ax: Axes, rows: pd.DataFrame, variants: list[str]) -> None:
    """Draw one pair's bars, the first variant on top, each with its value."""
    greys = np.linspace(0.9, 0.45, len(variants))
    for row in rows.itertuples():
        place = variants.index(row.variant)
        if math.isnan(row.mean):
            ax.annotate("diverged", (0, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
            continue
        sd = 0 if math.isnan(row.sd) else row.sd
        style = {"facecolor": str(greys[place]), "hatch": _HATCHES[place % len(_HATCHES)], "edgecolor": "0.3"}
        ax.barh(place, row.mean, height=0.7, linewidth=0.5, **style)
        ax.errorbar(row.mean, place, xerr=sd or None, color="black", capsize=1.5, elinewidth=0.8, capthick=0.8)
        ax.annotate(
            f"{row.mean:.1f}",
            (row.mean + sd, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    ax.set_yticks(range(len(variants)), [_words(variant) for variant in variants])
    ax.set_ylim(len(variants) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)


def _right_end(summary: pd.DataFrame) -> float:
    """Return an x limit that leaves room for the values beside the bars."""
    ends = (summary["mean"] + summary["sd"].fillna(0)).dropna()
    return 1.22 * ends.max() if ends.max() > 0 else 1.0


def _draw_seeds(ax: Axes, scores: pd.DataFrame, variants: list[str]) -> None:
    """Put a dot per seed on the bars, below the whiskers."""
    places = [variants.index(variant) + 0.24 for variant in scores["variant"]]
    ax.scatter(scores["value"], places, s=6, facecolor="white", edgecolor="black", linewidth=0.5, zorder=4)


def _ramp(count: int) -> list:
    """Return `count` viridis colours from dark to light; the palest end is left out, it fades on paper."""
    return [_VIRIDIS(value) for value in np.linspace(0, 0.85, count)]


def _words(name: str) -> str:
    return name.replace("_", " ")
