"""What the figures share: the house style, and saving as .svg and .png for a paper's column.

Figures are built without pyplot, so nothing here has global state and no display is needed. Colours come
from viridis and from greys, whose lightness alone tells them apart; line styles and markers repeat it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skipclm.runtime import atomic

COLUMN, PAGE = 3.3, 6.6  # widths in inches: one column of a paper, and both
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
    "svg.hashsalt": "skipclm",  # else every drawing has other ids
}


@contextmanager
def drawing(stem: str | Path, size: tuple[float, float]) -> Iterator[Figure]:
    """Yield an empty figure of `size` inches in the house style; save it if the block succeeds."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        _save(figure, Path(stem))


def _save(figure: Figure, stem: Path) -> None:
    """Write both formats, without dates, so that equal figures are equal files."""
    for kind, metadata in {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}.items():
        with atomic.new_file(stem.with_name(f"{stem.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)


def hide_spare(axes: Sequence[Axes], used: int, columns: int) -> None:
    """Hide the panels that are not used, and give the tick labels they had to the panels above them."""
    for number in range(used, len(axes)):
        axes[number].set_visible(False)
        axes[number - columns].tick_params(labelbottom=True)


def line_style(values: list, value: object) -> dict:
    """Return the colour and line style of one value of several.

    The colours go from dark to light; the palest end of viridis is left out, it fades on paper.
    """
    number = values.index(value)
    colour = VIRIDIS(np.linspace(0, 0.85, len(values))[number])
    return {"color": colour, "linestyle": _LINES[number % len(_LINES)]}


def in_words(name: str) -> str:
    """Return a name from a table as it stands in a figure: "skip_source" is "skip source"."""
    return name.replace("_", " ")
