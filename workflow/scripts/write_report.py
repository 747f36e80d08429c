"""Say what was chosen, what came of it and where the figures are."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm import provenance, selection, tables, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    best = provenance.read_json(snakemake.input.best)
    summary = tables.summarise(tsv.read(snakemake.input.scores))
    figures = Path(snakemake.input.ablation_figures[0]).parent
    text = "\n".join(
        [selection.to_text(best, snakemake.params.names), tables.to_text(summary), f"Figures: {figures}\n"]
    )
    provenance.write_text(snakemake.output.report, text)
