"""Put the translations of one pair by all variants side by side."""

from typing import TYPE_CHECKING

from skipclm import corpus, evaluation, provenance, side_by_side, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    sources, references = (corpus.read_lines(path) for path in (snakemake.input.sources, snakemake.input.references))
    metric, hypotheses, contributions = snakemake.params.metric, {}, {}
    files = zip(snakemake.params.variants, snakemake.input.hypotheses, snakemake.input.segments, strict=True)
    for variant, lines, segments in files:
        measured = evaluation.load_segments(segments)
        if metric in measured:  # not of a diverged run
            hypotheses[variant], contributions[variant] = corpus.read_lines(lines), measured[metric]
    table = side_by_side.lay_out(sources, references, hypotheses, contributions, metric)
    tsv.write(snakemake.output.table, table)
