"""Translate one split with one trained run."""

from typing import TYPE_CHECKING

import torch

from skipclm import checkpoints, provenance, translation
from skipclm.examples import Examples

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    untrained = {"status": "ok"}
    record = provenance.read_json(snakemake.input.record) if snakemake.input.record else untrained
    translations = []  # of a diverged run there are none
    if record["status"] == "ok":
        model, tokenizer = checkpoints.load(snakemake.input.model)
        sources = Examples.load(snakemake.input.tokens).source
        translations = translation.translate(model, tokenizer, sources, **snakemake.params.options)
    provenance.write_lines(snakemake.output.hypotheses, translations)
