"""Plot the ablation with one metric."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.report import ablation_figure
from skipclm.runtime import jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    scores, summary = (tsv.read(path) for path in (snakemake.input.scores, snakemake.input.summary))
    stem = Path(snakemake.output.figure[0]).with_suffix("")
    ablation_figure.draw_bars(summary, stem, snakemake.wildcards.metric, snakemake.wildcards.split, scores)
