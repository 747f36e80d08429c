"""Fine-tune the base model for one run: a grid cell or an ablation variant."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.runtime import jobs, startup

jobs.end_with_parents()
with startup.without_garbage_collection():
    from skipclm.config import runs
    from skipclm.runtime import devices, snapshots
    from skipclm.training import base_trial, training_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

execution = snakemake.config["execution"]
folder = Path(snakemake.output.record).parent
snapshot_folder = folder / snapshots.FOLDER
with (
    jobs.job(snakemake.log[0], __file__, snakemake.params.code),
    jobs.limited_attempts(
        folder / "train.attempt", execution["attempts"], snapshots.last_step(snapshot_folder)
    ) as failure,
    devices.lease(snakemake.resources.gpu, execution["jobs_per_gpu"]),
):
    job = training_job.TrainingJob(
        pair=snakemake.wildcards.pair,
        seed=int(snakemake.wildcards.seed),
        settings=snakemake.params.settings,
        code=snakemake.params.code,
        base=snakemake.input.base,
        train=snakemake.input.train,
        valid=snakemake.input.valid,
        model=snakemake.output.model,
        history=snakemake.output.history,
        record=snakemake.output.record,
        snapshots=str(snapshot_folder),
        snapshot_minutes=execution["snapshot_minutes"],
        threads=snakemake.threads,
        tensorboard=str(Path(snakemake.log[0]).with_name("tensorboard")) if execution["tensorboard"] else None,
    )
    if not failure:
        base_trial.ensure_tried(job.base, runs.trial_config(snakemake.config), Path(job.base).with_name("trial.json"))
    training_job.run(job, failure)
