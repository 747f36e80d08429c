"""Fine-tune the base model for one run, a cell of the grid or a variant of the ablation."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm import startup

with startup.loading():
    import pandas as pd
    import torch

    from skipclm import checkpoints, devices, provenance, runs, training, tsv
    from skipclm.examples import Examples, Prompt
    from skipclm.snapshots import Snapshots, fingerprint

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

lease = devices.lease(snakemake.resources.gpu, snakemake.config["execution"]["jobs_per_gpu"])
with provenance.job(snakemake.log[0]), lease, provenance.new_folder(snakemake.output.model) as folder:
    torch.set_num_threads(snakemake.threads)
    pair, seed, settings = snakemake.wildcards.pair, int(snakemake.wildcards.seed), snakemake.params.settings
    print(f"{pair} seed {seed}: {runs.describe(settings)}")
    facts = {"pair": pair, "seed": seed, "settings": settings, "code": snakemake.params.code}
    files = [snakemake.input.train, snakemake.input.valid, *sorted(Path(snakemake.input.base).iterdir())]
    snapshots = Snapshots(
        Path(snakemake.output.record).with_name("snapshots"),
        fingerprint(facts | {"versions": provenance.versions()}, files),
        snakemake.config["execution"]["snapshot_minutes"],
    )
    model, tokenizer = checkpoints.load(snakemake.input.base)
    outcome = training.train(
        model,
        Prompt.of(tokenizer),
        settings,
        Examples.load(snakemake.input.train),
        Examples.load(snakemake.input.valid),
        seed,
        folder,
        snapshots=snapshots,
    )
    record = {"pair": pair, "seed": seed, "settings": settings} | outcome.facts | provenance.environment()
    checkpoints.save(outcome.model, tokenizer, folder, record)
    tsv.write(snakemake.output.history, pd.DataFrame(outcome.history))
    provenance.write_json(snakemake.output.record, record)
snapshots.remove()
