"""Select the best layers for every pair from the grid table."""

from typing import TYPE_CHECKING

from skipclm.analysis import selection
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    scores = tsv.read(snakemake.input.scores)
    params = snakemake.params
    best = selection.select_best(scores, params.metric, params.pairs, params.allow_missing)
    atomic.write_json(snakemake.output.best, best)
