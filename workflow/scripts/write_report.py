"""Say what was chosen, what came of it and where the figures are."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm import provenance, selection, tables, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    best = provenance.read_json(snakemake.input.best)
    summary = tables.summarise(tsv.read(snakemake.input.scores))
    figures = [*snakemake.input.grid_figures, *snakemake.input.ablation_figures]
    listed = ["Figures, each as .svg and .png:", *(str(Path(figure).with_suffix("")) for figure in figures), ""]
    parts = [selection.to_text(best, snakemake.params.names), tables.to_text(summary), *listed]
    provenance.write_text(snakemake.output.report, "\n".join(parts))
