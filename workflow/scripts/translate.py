"""Translate one split with one trained run."""

from typing import TYPE_CHECKING

from skipclm import jobs, startup

jobs.end_with_parents()
with startup.loading():
    import torch

    from skipclm import checkpoints, devices, evaluation, provenance, translation
    from skipclm.examples import Examples

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

execution = snakemake.config["execution"]
note = f"{snakemake.output.hypotheses}.attempt"
with (
    jobs.job(snakemake.log[0]),
    jobs.trying(note, execution["attempts"]) as failure,
    devices.lease(snakemake.resources.gpu, execution["jobs_per_gpu"]),
):
    torch.set_num_threads(snakemake.threads)
    run = provenance.read_json(snakemake.input.record) if snakemake.input.record else {"status": "untrained"}
    if failure:
        print(f"given up: {failure}")
        run = {"status": "failed", "reason": f"in translation, {failure.partition(chr(10))[0]}"}
    found = translation.Translated([], [])
    if run["status"] in evaluation.TRANSLATES:
        model, tokenizer = checkpoints.load(snakemake.input.model)
        sources = Examples.load(snakemake.input.tokens).source
        # No parameter of the rule: how much at a time is a matter of memory, and no reason to translate again.
        batch_tokens = snakemake.config["evaluation"]["batch_tokens"]
        options = snakemake.params.options | {"batch_tokens": batch_tokens}
        found = translation.translate(model, tokenizer, sources, **options)
    provenance.write_lines(snakemake.output.hypotheses, found.texts)
    generation = {"status": run["status"], "reason": run.get("reason"), "options": snakemake.params.options}
    generation |= evaluation.describe(snakemake.output.hypotheses, found.cut, evaluation.identity(snakemake.wildcards))
    provenance.write_json(snakemake.output.generation, generation | provenance.environment())
