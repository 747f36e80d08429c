"""Write the report: the selected layers, the results, the warnings and the list of figures."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from skipclm.analysis import grid_statistics, selection
from skipclm.report import tables
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    best = atomic.read_json(snakemake.input.best)
    summary = tsv.read(snakemake.input.summary)
    files = [*snakemake.input.grid_figures, *snakemake.input.ablation_figures]
    figures = dict.fromkeys(str(Path(file).with_suffix("")) for file in files)
    listed = ["Figures, each as .svg and .png:", *figures, ""]
    doubts = grid_statistics.to_text(*(tsv.read(path) for path in (snakemake.input.cells, snakemake.input.winner)))
    checks = [atomic.read_json(path) for path in snakemake.input.checks]
    warnings = [
        f"Warning: {check['pair']} {check['split']}: {line}\n" for check in checks for line in check["warnings"]
    ]
    corpus = pd.concat(map(tsv.read, snakemake.input.corpus)).dropna(subset="warnings")
    warnings += [f"Warning: {row.pair} {row.split}: {row.warnings}\n" for row in corpus.itertuples()]
    parts = [selection.to_text(best, snakemake.params.names), doubts, tables.to_text(summary), *warnings, *listed]
    atomic.write_text(snakemake.output.report, "\n".join(parts))
