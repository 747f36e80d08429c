"""Encode one split with the base model's tokenizer."""

from typing import TYPE_CHECKING

from skipclm.runtime import jobs, startup

jobs.end_with_parents()
with startup.without_garbage_collection():
    from skipclm.data import examples
    from skipclm.data.text_files import read_lines
    from skipclm.models import tokenizer_loading

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    examples.Examples.encoded(
        tokenizer_loading.load_tokenizer(snakemake.input.base),
        read_lines(snakemake.input.source),
        read_lines(snakemake.input.target),
    ).save(snakemake.output.tokens)
