"""Draw the losses of several runs over training steps."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from skipclm.errors import InputError
from skipclm.report import figures

_FEW = 8  # runs that one can tell apart


def draw_losses(histories: dict[str, pd.DataFrame], stem: str | Path, highlight: Collection[str] = ()) -> None:
    """Draw the losses of several runs over training steps to `stem`.svg and .png.

    `histories` maps a run's name to its table: step, loss, and where they apply lm_loss, contrastive_loss,
    valid_loss (NaN where not measured). Above eight runs all are light but those in
    `highlight`, the chosen ones. InputError: no runs, or a chosen one that is not among them.
    """
    if not histories or not set(highlight) <= histories.keys():
        wanted = " and ".join(highlight) or "a run"
        raise InputError(f"expected {wanted} among the histories, found {', '.join(histories) or 'none'}")
    styles, few = _run_styles(list(histories), highlight), len(histories) <= _FEW
    contrastive, valid = (
        any(_measured(history, column) for history in histories.values())
        for column in ("contrastive_loss", "valid_loss")
    )
    window = max(1, max(map(len, histories.values())) // 50)
    smooth = f" (running mean of {window} points)" if window > 1 else ""
    with figures.drawing(stem, (figures.PAGE if contrastive else figures.COLUMN, 2.7)) as figure:
        axes = figure.subplots(1, 1 + contrastive, squeeze=False)[0]
        for name, history in histories.items():
            _draw_run(axes, history, styles[name], window, few or name in highlight)
        for ax, loss in zip(axes, ("LM loss (nats per token)", "contrastive loss (nats)"), strict=False):
            ax.set_xlabel(f"training step{smooth}")
            ax.set_ylabel(loss)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
        _run_legend(figure, styles, valid and bool(few or highlight), highlight)


def _run_styles(names: list[str], highlight: Collection[str]) -> dict[str, dict]:
    """Return a line style per run: distinct for few runs; light for many, so that those in `highlight` stand out."""
    if len(names) > _FEW:
        styles = {name: {"color": "0.7", "linewidth": 0.6} for name in names}
    else:
        styles = {name: figures.line_style(names, name) for name in names}
    for name in highlight:
        styles[name] |= figures.line_style(list(highlight), name) | {"color": "black", "linewidth": 1.8, "zorder": 3}
    return styles


def _measured(history: pd.DataFrame, column: str) -> bool:
    return column in history and bool(history[column].notna().any())


def _draw_run(axes: Sequence[Axes], history: pd.DataFrame, style: dict, window: int, valid: bool) -> None:
    """Draw one run: its LM losses, with validation if `valid`, and its contrastive loss."""
    train = "lm_loss" if _measured(history, "lm_loss") else "loss"
    for ax, column in ((axes[0], train), (axes[-1], "contrastive_loss")):
        if _measured(history, column):
            rows = history.dropna(subset=column)
            ax.plot(rows["step"], rows[column].rolling(window, min_periods=1, center=True).mean(), **style)
    if valid and _measured(history, "valid_loss"):
        rows = history.dropna(subset="valid_loss")
        axes[0].plot(rows["step"], rows["valid_loss"], **style | {"linewidth": 0.6, "marker": "o", "markersize": 3})


def _run_legend(figure: Figure, styles: dict[str, dict], valid: bool, highlight: Collection[str]) -> None:
    """Name the runs below the panels; of many only the highlighted ones."""
    few = len(styles) <= _FEW
    named = list(styles) if few else list(highlight)
    handles = [Line2D([], [], **styles[name], label=figures.in_words(name)) for name in named]
    if not few:
        others = len(styles) - len(named)
        handles += [Line2D([], [], color="0.7", linewidth=0.6, label=f"{others} {'other ' * bool(named)}runs")]
    if valid:
        handles += [Line2D([], [], color="0.3", linewidth=0.6, marker="o", markersize=3, label="validation")]
    # Long enough to tell dashes from dashes and dots.
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), handlelength=4)
