"""Collect the scores of the grid runs in one table."""

from typing import TYPE_CHECKING

from skipclm.analysis import selection
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    runs = [atomic.read_json(path) for path in snakemake.input.scores]
    tsv.write(snakemake.output.table, selection.grid_scores(runs, snakemake.params.metrics))
