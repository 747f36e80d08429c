"""Encode one split with the base model's tokenizer."""

from typing import TYPE_CHECKING

from skipclm import jobs, startup

jobs.end_with_parents()
with startup.loading():
    from skipclm import checkpoints, corpus, examples

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    examples.Examples.encoded(
        checkpoints.load_tokenizer(snakemake.input.base),
        corpus.read_lines(snakemake.input.source),
        corpus.read_lines(snakemake.input.target),
    ).save(snakemake.output.tokens)
