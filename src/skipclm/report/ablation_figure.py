"""Bar charts of the ablation: one panel per pair, one bar per variant."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from skipclm.errors import InputError
from skipclm.evaluation.metrics import label
from skipclm.report import figures

_HATCHES = ["", "////", "....", "xxxx", "----", "ooo"]


def draw_bars(
    summary: pd.DataFrame,
    stem: str | Path,
    metric: str = "bleu",
    split: str = "test",
    scores: pd.DataFrame | None = None,
) -> None:
    """Draw the ablation scores on one test set to `stem`.svg and .png: mean and sd per variant, one panel per pair.

    `summary` is the table of `ablation_summary.summarise`. With the tidy `scores`, the table of
    `selection.ablation_scores`, the figure has a dot for each seed.
    InputError: the summary has no such metric or split.
    """
    summary = summary[(summary["metric"] == metric) & (summary["split"] == split)]
    if summary.empty:
        raise InputError(f"expected {metric} on {split} in the ablation's summary, found none; add it to the config")
    pairs, variants = (list(summary[key].unique()) for key in ("pair", "variant"))
    if scores is not None:
        scores = scores[(scores["metric"] == metric) & (scores["split"] == split)]
    scores = scores if (summary["seeds"] > 1).any() else None  # with one seed, the dot would be at the end of the bar
    rows = math.ceil(len(pairs) / 3)
    columns = math.ceil(len(pairs) / rows)
    width = max(figures.COLUMN, 1.0 + columns * (figures.PAGE - 1.0) / 3)
    with figures.drawing(stem, (width, rows * (0.24 * len(variants) + 0.35) + 0.3)) as figure:
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for ax, pair in zip(axes, pairs, strict=False):
            _draw_pair(ax, summary[summary["pair"] == pair], variants)
            if scores is not None:
                _draw_seeds(ax, scores[scores["pair"] == pair], variants)
            ax.set_title(pair)
        figures.hide_unused(axes, len(pairs), columns)
        axes[0].set_xlim(0, _right_end(summary))
        spread = ", mean ± sd" if summary["sd"].notna().any() else ""
        dots = "" if scores is None else ", dots: seeds"
        figure.supxlabel(f"{split} {label(metric)}{spread}{dots}", fontsize=8)


def _draw_pair(ax: Axes, rows: pd.DataFrame, variants: list[str]) -> None:
    """Draw the bars of one pair with their values; the first variant is at the top."""
    greys = np.linspace(0.9, 0.45, len(variants))
    text_style = {"textcoords": "offset points", "va": "center", "fontsize": 7}
    for row in rows.itertuples():
        y = variants.index(row.variant)
        if math.isnan(row.mean):
            status = "diverged" if row.diverged else "failed" if row.failed else "not run"
            ax.annotate(status, (0, y), (3, 0), **text_style)
            continue
        sd = 0 if math.isnan(row.sd) else row.sd
        style = {"facecolor": str(greys[y]), "hatch": _HATCHES[y % len(_HATCHES)], "edgecolor": "0.3"}
        ax.barh(y, row.mean, height=0.7, linewidth=0.5, **style)
        ax.errorbar(row.mean, y, xerr=sd or None, color="black", capsize=1.5, elinewidth=0.8, capthick=0.8)
        count = f" ({row.seeds}/{row.runs})" if row.seeds < row.runs else ""
        ax.annotate(f"{row.mean:.1f}{count}", (row.mean + sd, y), (4, 0), **text_style)
    ax.set_yticks(range(len(variants)), [figures.display_name(variant) for variant in variants])
    ax.set_ylim(len(variants) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)


def _right_end(summary: pd.DataFrame) -> float:
    """Return the upper x limit, with space for the values beside the bars."""
    ends = (summary["mean"] + summary["sd"].fillna(0)).dropna()
    return 1.22 * ends.max() if ends.max() > 0 else 1.0


def _draw_seeds(ax: Axes, scores: pd.DataFrame, variants: list[str]) -> None:
    """Draw a dot for each seed on the bars, below the error bars."""
    heights = [variants.index(variant) + 0.24 for variant in scores["variant"]]
    ax.scatter(scores["value"], heights, s=6, facecolor="white", edgecolor="black", linewidth=0.5, zorder=4)
