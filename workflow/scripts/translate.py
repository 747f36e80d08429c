"""Translate one split with one trained run."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.runtime import atomic, jobs, startup

jobs.end_with_parents()
with startup.without_garbage_collection():
    import torch

    from skipclm.data.examples import Examples
    from skipclm.evaluation import decoding, score_files
    from skipclm.models import checkpoints
    from skipclm.runtime import devices, provenance, snapshots

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

execution, options = snakemake.config["execution"], snakemake.params.options
hypotheses, generation = outputs = Path(snakemake.output.hypotheses), Path(snakemake.output.generation)


def translate(run: dict) -> decoding.Translated:
    """Translate the split; return no translations if the run diverged or failed."""
    if run["status"] not in score_files.TRANSLATED_STATUSES:
        return decoding.Translated([], [], [])
    torch.set_num_threads(snakemake.threads)
    model, tokenizer = checkpoints.load(snakemake.input.model)
    sources = Examples.load(snakemake.input.tokens).source
    # Not a parameter of the rule: it mainly affects memory, and a change must not rerun the translation.
    batch_tokens = snakemake.config["evaluation"]["batch_tokens"]
    translated = decoding.translate(model, tokenizer, sources, batch_tokens=batch_tokens, **options)
    if count := sum(translated.too_long):
        print(f"warning: {count} of {len(sources)} sentences are longer than the model reads; translations left empty")
    return translated


with (
    jobs.job(snakemake.log[0], __file__, snakemake.params.code),
    jobs.limited_attempts(f"{hypotheses}.attempt", execution["attempts"]) as failure,
    devices.lease(snakemake.resources.gpu, execution["jobs_per_gpu"]),
):
    facts = {"options": options, "code": snakemake.params.code, "versions": provenance.versions()}
    files = [Path(snakemake.input.model, provenance.RECORD), snakemake.input.tokens]
    stored = hypotheses.parent / snapshots.FOLDER / snakemake.wildcards.split
    fingerprint = snapshots.fingerprint(facts, files)
    if not snapshots.restore(outputs, stored, fingerprint):
        run = atomic.read_json(snakemake.input.record) if snakemake.input.record else {"status": "untrained"}
        if failure:
            print(f"given up: {failure}")
            run = {"status": "failed", "reason": f"in translation, {failure.partition(chr(10))[0]}"}
        translated = translate(run)
        atomic.write_lines(hypotheses, translated.texts)
        identity = score_files.identity(snakemake.wildcards)
        description = score_files.describe(hypotheses, translated.cut, identity)
        facts = {"status": run["status"], "reason": run.get("reason"), "options": options}
        atomic.write_json(generation, facts | description | provenance.environment())
        if run["status"] in score_files.TRANSLATED_STATUSES:
            snapshots.store(outputs, stored, fingerprint)
