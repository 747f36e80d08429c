"""Draw the ablation: a panel per pair, a bar per variant."""

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
    """Draw the ablation on one test set to `stem`.svg and .png: a panel per pair, bars of mean and sd per variant.

    `summary` is the table of `ablation_summary.summarise`; the tidy `scores` behind it add a dot per seed.
    InputError: no such metric or split in the summary.
    """
    summary = summary[(summary["metric"] == metric) & (summary["split"] == split)]
    if summary.empty:
        raise InputError(f"expected {metric} on {split} in the ablation's summary, found none; add it to the config")
    pairs, variants = (list(summary[key].unique()) for key in ("pair", "variant"))
    if scores is not None:
        scores = scores[(scores["metric"] == metric) & (scores["split"] == split)]
    scores = scores if (summary["seeds"] > 1).any() else None  # one dot per bar says nothing new
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
        figures.hide_spare(axes, len(pairs), columns)
        axes[0].set_xlim(0, _right_end(summary))
        spread = ", mean ± sd" if summary["sd"].notna().any() else ""
        dots = "" if scores is None else ", dots: seeds"
        figure.supxlabel(f"{split} {label(metric)}{spread}{dots}", fontsize=8)


def _draw_pair(ax: Axes, rows: pd.DataFrame, variants: list[str]) -> None:
    """Draw one pair's bars, the first variant on top, each with its value."""
    greys = np.linspace(0.9, 0.45, len(variants))
    for row in rows.itertuples():
        place = variants.index(row.variant)
        if math.isnan(row.mean):
            ax.annotate(
                "diverged" if row.diverged else "failed" if row.failed else "not run",
                (0, place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
            continue
        sd = 0 if math.isnan(row.sd) else row.sd
        style = {"facecolor": str(greys[place]), "hatch": _HATCHES[place % len(_HATCHES)], "edgecolor": "0.3"}
        ax.barh(place, row.mean, height=0.7, linewidth=0.5, **style)
        ax.errorbar(row.mean, place, xerr=sd or None, color="black", capsize=1.5, elinewidth=0.8, capthick=0.8)
        ax.annotate(
            f"{row.mean:.1f}" + (f" ({row.seeds}/{row.runs})" if row.seeds < row.runs else ""),
            (row.mean + sd, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    ax.set_yticks(range(len(variants)), [figures.in_words(variant) for variant in variants])
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
