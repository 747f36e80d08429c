"""Train a base model on single sentences, or copy the one that the configuration names."""

from typing import TYPE_CHECKING

from skipclm import jobs, startup

jobs.end_with_parents()
with startup.loading():
    import pandas as pd
    import torch

    from skipclm import base, checkpoints, corpus, devices, provenance, tsv
    from skipclm.snapshots import Snapshots, fingerprint

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with (
    jobs.job(snakemake.log[0], __file__, snakemake.params.code),
    jobs.alone(f"{snakemake.output.base}.attempt"),
    devices.lease(snakemake.resources.gpu, snakemake.config["execution"]["jobs_per_gpu"]),
    provenance.new_folder(snakemake.output.base) as folder,
):
    torch.set_num_threads(snakemake.threads)
    settings = snakemake.params.model
    if settings["source"] == "scratch":
        texts = {}
        for path in snakemake.input.train:
            texts.setdefault(path.rpartition(".")[2], []).extend(corpus.read_lines(path))
        facts = {"model": settings, "code": snakemake.params.code, "versions": provenance.versions()}
        snapshots = Snapshots(
            f"{snakemake.output.base}.snapshots",
            fingerprint(facts, snakemake.input.train),
            snakemake.config["execution"]["snapshot_minutes"],
        )
        model, tokenizer, history = base.from_scratch(texts, settings["scratch"], folder, snapshots)
        tsv.write(folder / "history.tsv", pd.DataFrame(history))
    else:
        model, tokenizer = base.fetch(settings["source"], settings["revision"], settings["layers"])
    checkpoints.save(model, tokenizer, folder, {"model": settings} | provenance.environment())
if settings["source"] == "scratch":
    snapshots.remove()
