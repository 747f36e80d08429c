"""Train a base model on single sentences, or copy the configured model."""

from typing import TYPE_CHECKING

from skipclm.runtime import atomic, jobs, locks, startup

jobs.end_with_parents()
with startup.without_garbage_collection():
    import pandas as pd
    import torch

    from skipclm.data.text_files import read_lines
    from skipclm.models import checkpoints, modeling
    from skipclm.runtime import devices, provenance, tsv
    from skipclm.runtime.snapshots import Snapshots, fingerprint
    from skipclm.training import base_model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with (
    jobs.job(snakemake.log[0], __file__, snakemake.params.code),
    locks.exclusive_lock(f"{snakemake.output.base}.attempt"),
    devices.lease(snakemake.resources.gpu, snakemake.config["execution"]["jobs_per_gpu"]),
    atomic.new_folder(snakemake.output.base) as folder,
):
    torch.set_num_threads(snakemake.threads)
    settings = snakemake.params.model
    if settings["source"] == "scratch":
        texts = {}
        for path in snakemake.input.train:
            texts.setdefault(path.rpartition(".")[2], []).extend(read_lines(path))
        facts = {"model": settings, "code": snakemake.params.code, "versions": provenance.versions()}
        snapshots = Snapshots(
            f"{snakemake.output.base}.snapshots",
            fingerprint(facts, snakemake.input.train),
            snakemake.config["execution"]["snapshot_minutes"],
        )
        model, tokenizer, history = base_model.from_scratch(texts, settings["scratch"], folder, snapshots)
        tsv.write(folder / "history.tsv", pd.DataFrame(history))
    else:
        model, tokenizer = base_model.fetch(settings["source"], settings["revision"], settings["layers"])
    record = {"model": settings, "context": modeling.context(model)}
    checkpoints.save(model, tokenizer, folder, record | provenance.environment())
if settings["source"] == "scratch":
    snapshots.remove()
