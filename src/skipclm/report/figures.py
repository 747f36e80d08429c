"""Shared parts of the figures: sizes for a paper's columns, the style, and saving as .svg and .png.

Figures are built without pyplot, so there is no global state and no display is required. Colours are from viridis or
greys. They differ in lightness, so they can be distinguished in black and white; line styles and markers differ, too.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skipclm.runtime import atomic

COLUMN, PAGE = 3.3, 6.6  # widths in inches: one column of a paper, the full page
VIRIDIS = matplotlib.colormaps["viridis"]
_LINES = ["-", "--", "-.", ":"]
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
    "svg.hashsalt": "skipclm",  # makes the ids in the SVG file reproducible
}


@contextmanager
def drawing(stem: str | Path, size: tuple[float, float]) -> Iterator[Figure]:
    """Yield an empty figure of `size` inches; if the block raises no error, save it to `stem`.svg and .png."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        _save(figure, Path(stem))


def _save(figure: Figure, stem: Path) -> None:
    """Write both formats, without dates and versions, so that the files are reproducible."""
    for suffix, metadata in {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}.items():
        with atomic.new_file(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
            figure.savefig(temporary, format=suffix, metadata=metadata)


def hide_unused(axes: Sequence[Axes], used: int, columns: int) -> None:
    """Hide the panels after the first `used` ones, and show the x tick labels of the panels above them."""
    for panel in range(used, len(axes)):
        axes[panel].set_visible(False)
        axes[panel - columns].tick_params(labelbottom=True)


def line_style(values: list, value: object) -> dict:
    """Return the colour and line style for one of several values.

    Colours range from dark to light, without the lightest end of viridis, which is hard to see on paper.
    """
    number = values.index(value)
    colour = VIRIDIS(np.linspace(0, 0.85, len(values))[number])
    return {"color": colour, "linestyle": _LINES[number % len(_LINES)]}


def display_name(name: str) -> str:
    """Return a name from a table for display in a figure: "skip_source" becomes "skip source"."""
    return name.replace("_", " ")
