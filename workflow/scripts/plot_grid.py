"""Plot the grid of one pair: heat maps, validation scores and training losses."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.config import runs
from skipclm.report import grid_figures, training_figure
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def stem(images: list[str]) -> Path:
    """Return the path of a figure without its suffix."""
    return Path(images[0]).with_suffix("")


with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    pair, metric = snakemake.wildcards.pair, snakemake.params.metric
    scores, cells = (tsv.read(path) for path in (snakemake.input.scores, snakemake.input.cells))
    best = atomic.read_json(snakemake.input.best)[pair]
    files = zip(snakemake.params.names, snakemake.input.histories, strict=True)
    histories = {name: tsv.read(path) for name, path in files}
    grid_figures.draw_heatmaps(scores, stem(snakemake.output.heatmap), pair, metric, cells)
    grid_figures.draw_curve(scores, stem(snakemake.output.curve), pair, metric)
    best_cell = runs.Cell(*(best[key] for key in runs.Cell.__dataclass_fields__)).name
    highlight = [name for name in histories if name.split()[0] == best_cell]
    training_figure.draw_losses(histories, stem(snakemake.output.training), highlight)
