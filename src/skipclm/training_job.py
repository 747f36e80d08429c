"""One training as the workflow runs it: from files to files, in one process or in several that share it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from skipclm import checkpoints, jobs, provenance, runs, training, tsv
from skipclm.errors import InputError, TerminatedError
from skipclm.examples import Examples, Prompt
from skipclm.snapshots import Snapshots, fingerprint


@dataclass(frozen=True)
class TrainingJob:
    """What a training is of, where it reads (base, train, valid) and writes (model, history, record), and how it runs.

    `code` identifies the code that trains. The model lies in a folder, as do the snapshots, which are taken every
    `snapshot_minutes`. `threads` are those of all processes together. TensorBoard's events go to the folder
    `tensorboard`, if there is to be one.
    """

    pair: str
    seed: int
    settings: dict
    code: str
    base: str
    train: str
    valid: str
    model: str
    history: str
    record: str
    snapshots: str
    snapshot_minutes: float
    threads: int
    tensorboard: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that decides the outcome."""
        facts = {"pair": self.pair, "seed": self.seed, "settings": self.settings, "code": self.code}
        files = [self.train, self.valid, *sorted(Path(self.base).iterdir())]
        return fingerprint(facts | {"versions": provenance.versions()}, files)

    @property
    def facts(self) -> dict:
        """What the record says beside the outcome."""
        return {"pair": self.pair, "seed": self.seed, "settings": self.settings, "fingerprint": self.fingerprint}

    def is_done(self) -> bool:
        """Tell whether somebody else has finished this very training."""
        if not all(Path(path).exists() for path in (self.model, self.history, self.record)):
            return False
        return provenance.read_json(self.record).get("fingerprint") == self.fingerprint


def run(job: TrainingJob, failure: str | None = None) -> None:
    """Do a training, or record for what `failure` it is given up: status `failed`, and no model.

    Raises what `training.train` does, and a `RuntimeError` if one of several processes died.
    """
    if job.is_done():  # by a job that a Snakemake left behind which is no more
        print("was done meanwhile")
        return
    with provenance.new_folder(job.model) as folder:
        inside = replace(job, model=str(folder))
        if failure:
            _give_up(inside, failure)
        elif job.settings["training"]["processes"] > 1:
            _share(inside)
        else:
            _train(inside)
    shutil.rmtree(job.snapshots, ignore_errors=True)


def _give_up(job: TrainingJob, failure: str) -> None:
    print(f"given up: {failure}")
    record = job.facts | {"status": "failed", "reason": failure} | provenance.environment()
    provenance.write_json(Path(job.model) / provenance.RECORD, record)
    tsv.write(job.history, pd.DataFrame({"step": []}))
    provenance.write_json(job.record, record)


def _train(job: TrainingJob) -> None:
    """Train in this process, or do its part, of which only the first writes anything."""
    print(f"{job.pair} seed {job.seed}: {runs.describe(job.settings)}")
    rank, count = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    torch.set_num_threads(max(1, job.threads // count))
    if count > 1 and torch.accelerator.is_available():
        torch.accelerator.set_device_index(rank)
    model, tokenizer = checkpoints.load(job.base)
    outcome = training.train(
        model,
        Prompt.of(tokenizer),
        job.settings,
        Examples.load(job.train),
        Examples.load(job.valid),
        job.seed,
        job.model,
        callbacks=_onlookers(job) if rank == 0 else [],
        snapshots=Snapshots(job.snapshots, job.fingerprint, job.snapshot_minutes),
    )
    if rank > 0:
        return
    record = job.facts | outcome.facts | provenance.environment()
    checkpoints.save(outcome.model, tokenizer, job.model, record)
    tsv.write(job.history, pd.DataFrame(outcome.history))
    provenance.write_json(job.record, record)


def _onlookers(job: TrainingJob) -> list[TrainerCallback]:
    """Return what writes TensorBoard's events, if they are asked for."""
    if job.tensorboard is None:
        return []
    from torch.utils.tensorboard import SummaryWriter  # which needs tensorboard

    return [TensorBoardCallback(SummaryWriter(job.tensorboard))]


def _share(job: TrainingJob) -> None:
    """Train in several processes of torchrun, each of which runs this module."""
    count = job.settings["training"]["processes"]
    description, fault = Path(job.model) / "job.json", Path(job.model) / "fault.json"
    provenance.write_json(description, asdict(job))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [*torchrun, "-m", "skipclm.training_job", str(description), str(fault)]
    threads = {"OMP_NUM_THREADS": str(max(1, job.threads // count))}  # or torchrun says at length that it takes one
    process = subprocess.Popen(command, env=os.environ | threads, close_fds=False)  # the job's lock among them
    try:
        status = process.wait()
    except BaseException:
        process.terminate()  # each process saves a snapshot first
        process.wait()
        raise
    found = provenance.read_json(fault) if fault.exists() else None
    description.unlink()
    fault.unlink(missing_ok=True)
    if found:
        raise (InputError if found["is_input"] else RuntimeError)(found["message"])
    if status:
        raise RuntimeError(f"one of {count} processes was killed, for lack of memory perhaps")


def main(description: str, fault: str) -> None:
    """Do one process's part of a training; what goes wrong is written to the file `fault`."""
    jobs.end_with_parents(2)  # torchrun and the job's own process
    try:
        _train(TrainingJob(**json.loads(Path(description).read_text(encoding="utf-8"))))
    except TerminatedError:
        sys.exit(128 + signal.SIGTERM)
    except Exception as error:
        is_input = isinstance(error, InputError)
        message = str(error) if is_input else f"{type(error).__name__}: {error}"
        provenance.write_json(fault, {"is_input": is_input, "message": message})
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
