"""Translate one split with one trained run."""

from typing import TYPE_CHECKING

from skipclm import startup

with startup.loading():
    import torch

    from skipclm import checkpoints, provenance, translation
    from skipclm.examples import Examples

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    record = provenance.read_json(snakemake.input.record) if snakemake.input.record else {"status": "untrained"}
    translations = []  # of a diverged run there are none
    if record["status"] != "diverged":
        model, tokenizer = checkpoints.load(snakemake.input.model)
        sources = Examples.load(snakemake.input.tokens).source
        # No parameter of the rule: how much at a time is a matter of memory, and no reason to translate again.
        batch_tokens = snakemake.config["evaluation"]["batch_tokens"]
        options = snakemake.params.options | {"batch_tokens": batch_tokens}
        translations = translation.translate(model, tokenizer, sources, **options)
    provenance.write_lines(snakemake.output.hypotheses, translations)
