"""Compare every ablation variant with the baseline, and test which differences are significant."""

from typing import TYPE_CHECKING

from skipclm.analysis import significance
from skipclm.evaluation import score_files
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    runs = [atomic.read_json(path) for path in snakemake.input.scores]
    segments = [score_files.load_segments(path, run) for path, run in zip(snakemake.input.segments, runs, strict=True)]
    table = significance.compare_with_baseline(snakemake.params.baseline, runs, segments, snakemake.params.metrics)
    tsv.write(snakemake.output.table, table)
