"""Choose the best layers for every pair from the grid's table."""

from typing import TYPE_CHECKING

from skipclm import provenance, selection, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    scores = tsv.read(snakemake.input.scores)
    best = selection.select_best(scores, snakemake.params.metric, snakemake.params.pairs)
    provenance.write_json(snakemake.output.best, best)
