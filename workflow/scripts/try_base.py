"""Try every step of a run on the base model, at a small scale, before any training."""

from typing import TYPE_CHECKING

from skipclm.runtime import devices, jobs
from skipclm.training import base_trial

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with (
    jobs.job(snakemake.log[0], __file__, snakemake.params.code),
    devices.lease(snakemake.resources.gpu, snakemake.config["execution"]["jobs_per_gpu"]),
):
    base_trial.ensure_tried(snakemake.input.base, snakemake.params.config, snakemake.output.trial)
