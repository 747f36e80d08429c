"""Line plots of the training losses of several runs."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from skipclm.errors import InputError
from skipclm.report import figures

_MAX_DISTINCT = 8  # number of runs that can be distinguished by their line styles


def draw_losses(histories: dict[str, pd.DataFrame], stem: str | Path, highlight: Collection[str] = ()) -> None:
    """Draw the losses of several runs over training steps to `stem`.svg and .png.

    `histories` maps the name of a run to its table with the columns step and loss, and optionally lm_loss,
    contrastive_loss and valid_loss (NaN at steps where they are not measured). For more than eight runs, only the runs
    in `highlight` have distinct lines; all others are grey.
    InputError: no runs, or a run in `highlight` that is not in `histories`.
    """
    if not histories or not set(highlight) <= histories.keys():
        wanted = " and ".join(highlight) or "a run"
        raise InputError(f"expected {wanted} among the histories, found {', '.join(histories) or 'none'}")
    styles, all_distinct = _run_styles(list(histories), highlight), len(histories) <= _MAX_DISTINCT
    contrastive, valid = (
        any(_measured(history, column) for history in histories.values())
        for column in ("contrastive_loss", "valid_loss")
    )
    window = max(1, max(map(len, histories.values())) // 50)
    smooth = f" (running mean of {window} points)" if window > 1 else ""
    with figures.drawing(stem, (figures.PAGE if contrastive else figures.COLUMN, 2.7)) as figure:
        axes = figure.subplots(1, 1 + contrastive, squeeze=False)[0]
        for name, history in histories.items():
            _draw_run(axes, history, styles[name], window, all_distinct or name in highlight)
        for ax, loss in zip(axes, ("LM loss (nats per token)", "contrastive loss (nats)"), strict=False):
            ax.set_xlabel(f"training step{smooth}")
            ax.set_ylabel(loss)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
        _run_legend(figure, styles, valid and bool(all_distinct or highlight), highlight)


def _run_styles(names: list[str], highlight: Collection[str]) -> dict[str, dict]:
    """Return the line style of each run: distinct styles for up to eight runs, otherwise only for `highlight`."""
    if len(names) > _MAX_DISTINCT:
        styles = {name: {"color": "0.7", "linewidth": 0.6} for name in names}
    else:
        styles = {name: figures.line_style(names, name) for name in names}
    for name in highlight:
        styles[name] |= figures.line_style(list(highlight), name) | {"color": "black", "linewidth": 1.8, "zorder": 3}
    return styles


def _measured(history: pd.DataFrame, column: str) -> bool:
    """Return whether the column exists and has values."""
    return column in history and bool(history[column].notna().any())


def _draw_run(axes: Sequence[Axes], history: pd.DataFrame, style: dict, window: int, valid: bool) -> None:
    """Draw the LM loss of one run, its validation loss if `valid`, and its contrastive loss if it has one.

    The training losses are running means over `window` points.
    """
    lm_column = "lm_loss" if _measured(history, "lm_loss") else "loss"
    for ax, column in ((axes[0], lm_column), (axes[-1], "contrastive_loss")):
        if _measured(history, column):
            rows = history.dropna(subset=column)
            ax.plot(rows["step"], rows[column].rolling(window, min_periods=1, center=True).mean(), **style)
    if valid and _measured(history, "valid_loss"):
        rows = history.dropna(subset="valid_loss")
        axes[0].plot(rows["step"], rows["valid_loss"], **style | {"linewidth": 0.6, "marker": "o", "markersize": 3})


def _run_legend(figure: Figure, styles: dict[str, dict], valid: bool, highlight: Collection[str]) -> None:
    """Add the legend below the panels; for more than eight runs, it names only those in `highlight`."""
    all_distinct = len(styles) <= _MAX_DISTINCT
    names = list(styles) if all_distinct else list(highlight)
    handles = [Line2D([], [], **styles[name], label=figures.display_name(name)) for name in names]
    if not all_distinct:
        others = len(styles) - len(names)
        handles += [Line2D([], [], color="0.7", linewidth=0.6, label=f"{others} {'other ' * bool(names)}runs")]
    if valid:
        handles += [Line2D([], [], color="0.3", linewidth=0.6, marker="o", markersize=3, label="validation")]
    # The handles are long enough to distinguish dashed from dash-dotted lines.
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), handlelength=4)
