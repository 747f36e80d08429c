"""Draw the ablation by one metric."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm import ablation_figure, provenance, tables, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    scores = tsv.read(snakemake.input.scores)
    metric = snakemake.wildcards.metric
    stem = Path(snakemake.output.figure[0]).with_suffix("")
    ablation_figure.draw_bars(tables.summarise(scores), stem, metric, scores)
