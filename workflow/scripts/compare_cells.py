"""Test which grid cells differ from the best, and estimate the selection bias of the best score."""

from typing import TYPE_CHECKING

from skipclm.analysis import grid_statistics
from skipclm.evaluation import score_files
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    runs = [atomic.read_json(path) for path in snakemake.input.scores]
    segments = [score_files.load_segments(path, run) for path, run in zip(snakemake.input.segments, runs, strict=True)]
    best, metric = atomic.read_json(snakemake.input.best), snakemake.params.metric
    tsv.write(snakemake.output.cells, grid_statistics.cells_table(runs, segments, best, metric))
    tsv.write(snakemake.output.optimism, grid_statistics.optimism_table(runs, segments, best, metric))
