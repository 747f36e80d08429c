"""Read, clean and split the parallel text of all pairs."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm import corpus, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    folder = Path(snakemake.output.summary).parent
    corpus.build_corpus(snakemake.params.corpus, snakemake.params.languages, snakemake.params.pairs, folder)
