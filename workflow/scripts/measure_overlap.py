"""Measure the overlap between the splits of each pair."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.analysis import overlap
from skipclm.data.text_files import read_lines
from skipclm.pairs import Pair
from skipclm.runtime import jobs, tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0], __file__, snakemake.params.code):
    folder = Path(snakemake.output.table).parent
    texts = {
        (pair, language): {
            split: read_lines(folder / pair / f"{split}.{language}") for split in snakemake.params.splits
        }
        for pair in snakemake.params.pairs
        for language in Pair(pair).languages
    }
    tsv.write(snakemake.output.table, overlap.overlap_table(texts))
