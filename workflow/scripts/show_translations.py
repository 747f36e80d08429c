"""Write the translations of one pair by all variants side by side."""

from typing import TYPE_CHECKING

from skipclm.analysis import side_by_side
from skipclm.data.text_files import read_lines
from skipclm.evaluation import score_files
from skipclm.runtime import atomic, jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    sources, references = (read_lines(path) for path in (snakemake.input.sources, snakemake.input.references))
    metric, hypotheses, contributions, untrained = snakemake.params.metric, {}, {}, []
    inputs = (snakemake.input.hypotheses, snakemake.input.segments, snakemake.input.scores)
    for variant, lines, segments, scores in zip(snakemake.params.variants, *inputs, strict=True):
        score = atomic.read_json(scores)
        statistics = score_files.load_segments(segments, score)
        if metric in statistics:  # false for a diverged run
            hypotheses[variant], contributions[variant] = score_files.read_scored(lines, score), statistics[metric]
        if score["status"] == "untrained":
            untrained.append(variant)
    table = side_by_side.translation_table(sources, references, hypotheses, contributions, metric, untrained)
    tsv.write_sentences(snakemake.output.table, table)
