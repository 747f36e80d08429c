"""Read, clean and split the parallel text of all pairs."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.data import corpus
from skipclm.runtime import jobs

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    folder = Path(snakemake.output.summary).parent
    corpus.build_corpus(snakemake.params.corpus, snakemake.params.languages, snakemake.params.pairs, folder)
