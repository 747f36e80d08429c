"""Translate one split with one trained run."""

from typing import TYPE_CHECKING

from skipclm import startup

with startup.loading():
    import torch

    from skipclm import checkpoints, devices, evaluation, provenance, translation
    from skipclm.examples import Examples

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

lease = devices.lease(snakemake.resources.gpu, snakemake.config["execution"]["jobs_per_gpu"])
with provenance.job(snakemake.log[0]), lease:
    torch.set_num_threads(snakemake.threads)
    record = provenance.read_json(snakemake.input.record) if snakemake.input.record else {"status": "untrained"}
    found = translation.Translated([], [])  # of a diverged run there are none
    if record["status"] != "diverged":
        model, tokenizer = checkpoints.load(snakemake.input.model)
        sources = Examples.load(snakemake.input.tokens).source
        # No parameter of the rule: how much at a time is a matter of memory, and no reason to translate again.
        batch_tokens = snakemake.config["evaluation"]["batch_tokens"]
        options = snakemake.params.options | {"batch_tokens": batch_tokens}
        found = translation.translate(model, tokenizer, sources, **options)
    provenance.write_lines(snakemake.output.hypotheses, found.texts)
    whose = evaluation.identity(snakemake.wildcards)
    generation = evaluation.describe(snakemake.output.hypotheses, found.cut, whose)
    generation["options"] = snakemake.params.options
    provenance.write_json(snakemake.output.generation, generation | provenance.environment())
