"""Read and clean a further test set of all pairs."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.data import corpus
from skipclm.runtime import jobs

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    folder, params = Path(snakemake.output.summary).parent, snakemake.params
    corpus.add_test(params.corpus, snakemake.wildcards.test, params.languages, params.pairs, folder)
