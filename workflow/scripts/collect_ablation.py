"""Collect the scores of the ablation runs and their means, in machine-readable tables and in tables for papers."""

from typing import TYPE_CHECKING

import pandas as pd

from skipclm.analysis import ablation_summary, grid_statistics, selection
from skipclm.report import tables
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    runs = [atomic.read_json(path) for path in snakemake.input.scores]
    scores = selection.ablation_scores(runs, snakemake.params.metrics)
    checks = [atomic.read_json(path) for path in snakemake.input.checks]
    corpus = pd.concat(map(tsv.read, snakemake.input.corpus))
    summary = ablation_summary.summarise(scores, tsv.read(snakemake.input.significance), checks, corpus)
    tsv.write(snakemake.output.scores, scores)
    tsv.write(snakemake.output.table, summary)
    winner = grid_statistics.winner_table(tsv.read(snakemake.input.optimism), summary, snakemake.params.winner)
    tsv.write(snakemake.output.winner, winner)
    atomic.write_text(snakemake.output.markdown, tables.to_markdown(summary))
    atomic.write_text(snakemake.output.latex, tables.to_latex(summary))
    atomic.write_text(snakemake.output.html, tables.to_html(summary))
