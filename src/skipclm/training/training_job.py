"""One training as the workflow runs it: from files to files, in one process or in several that share it."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from skipclm.config import runs
from skipclm.data.examples import Examples, Prompt
from skipclm.errors import InputError, ShortOfMemoryError, TerminatedError
from skipclm.models import checkpoints
from skipclm.runtime import atomic, checkout, devices, job_environment, jobs, locks, provenance, tsv
from skipclm.runtime.snapshots import DONE, PROGRESS, Snapshots, fingerprint, model_files
from skipclm.training import fine_tuning

PATIENCE = 600  # seconds that processes which are told to end have for their snapshot


@dataclass(frozen=True)
class TrainingJob:
    """What a training is of, where it reads (base, train, valid) and writes (model, history, record), and how it runs.

    `code` identifies the code that trains. The model lies in a folder, as do the snapshots, which are taken every
    `snapshot_minutes`. `threads` are those of all processes together. TensorBoard's events go to the folder
    `tensorboard`, if there is to be one. `micro_batch` is what there is memory for, if less than the settings say.
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
    micro_batch: int | None = None

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that decides the outcome."""
        facts = {"pair": self.pair, "seed": self.seed, "settings": self.settings, "code": self.code}
        files = [self.train, self.valid, *model_files(self.base)]
        return fingerprint(facts | {"versions": provenance.versions()}, files)

    @property
    def facts(self) -> dict:
        """What the record says beside the outcome."""
        return {"pair": self.pair, "seed": self.seed, "settings": self.settings, "fingerprint": self.fingerprint}


def run(job: TrainingJob, failure: str | None = None) -> None:
    """Do a training, or record for what `failure` it is given up: status `failed`, and no model.

    What is done is kept among the snapshots too, without room of its own, until `release`: Snakemake throws all away if
    a job fails that shares one of the cluster's with this one. Raises what `training.train` does, and a `RuntimeError`
    if one of several processes died.
    """
    done = Path(job.snapshots) / DONE  # beside those of splits, none of which is translated by this name
    if _fingerprint_of(done) != job.fingerprint:
        with atomic.new_folder(done) as folder:
            inside = replace(job, model=str(folder / "model"), **_beside(folder))
            Path(inside.model).mkdir()
            if failure:
                _give_up(inside, failure)
            elif job.settings["training"]["processes"] > 1:
                _share(inside)
            else:
                _train(inside)
        for snapshot in Path(job.snapshots).glob("checkpoint-*"):
            shutil.rmtree(snapshot)
        Path(job.snapshots, PROGRESS).unlink(missing_ok=True)
    else:
        print("was done before")
    with atomic.new_folder(job.model) as folder:
        for path in (done / "model").rglob("*"):
            if path.is_file():  # a tokenizer may have folders of its own
                atomic.link(path, folder / path.relative_to(done / "model"))
    for name, path in _beside(done).items():
        atomic.link(Path(path), Path(getattr(job, name)))


def _fingerprint_of(done: Path) -> str | None:
    """Return the fingerprint of what was done, if anything was."""
    record = Path(_beside(done)["record"])
    return atomic.read_json(record)["fingerprint"] if record.exists() else None


def _beside(folder: Path) -> dict[str, str]:
    return {"history": str(folder / "history.tsv"), "record": str(folder / "training.json")}


def _give_up(job: TrainingJob, failure: str) -> None:
    print(f"given up: {failure}")
    record = job.facts | {"status": "failed", "reason": failure.partition("\n")[0]} | provenance.environment()
    atomic.write_json(Path(job.model) / provenance.RECORD, record)
    tsv.write(job.history, pd.DataFrame({"step": []}))
    atomic.write_json(job.record, record)


def _train(job: TrainingJob) -> None:
    """Train in this process, or do its part, of which only the first writes anything."""
    print(f"{job.pair} seed {job.seed}: {runs.describe(job.settings)}")
    rank, count = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    torch.set_num_threads(max(1, job.threads // count))
    if count > 1 and torch.accelerator.is_available():
        torch.accelerator.set_device_index(rank)
    model, tokenizer = checkpoints.load(job.base)
    settings = job.settings
    if job.micro_batch:
        settings = settings | {"training": settings["training"] | {"micro_batch": job.micro_batch}}
    outcome = fine_tuning.train(
        model,
        Prompt.of(tokenizer),
        settings,
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
    atomic.write_json(job.record, record)


def _onlookers(job: TrainingJob) -> list[TrainerCallback]:
    """Return what writes TensorBoard's events, if they are asked for."""
    if job.tensorboard is None:
        return []
    from torch.utils.tensorboard import SummaryWriter  # which needs tensorboard

    return [TensorBoardCallback(SummaryWriter(job.tensorboard))]


def _share(job: TrainingJob) -> None:
    """Train in several processes; where memory is short, go on in new ones, with a smaller micro-batch."""
    count, visible = job.settings["training"]["processes"], devices.visible()
    if visible and len(visible) < count:
        raise InputError(
            f"training.processes: expected no more than the {len(visible)} devices of this job, found {count}; lower "
            "it, or give the job more"
        )
    while smaller := _start_processes(job, count):
        job = replace(job, micro_batch=smaller)


def _start_processes(job: TrainingJob, count: int) -> int | None:
    """Train in processes of torchrun, each of which runs this module; if one lacks memory, return what to try next."""
    with tempfile.TemporaryDirectory() as place:  # of this machine, not on a disk that may be full
        description = {"job": asdict(job), "starter": os.getpid()}
        atomic.write_json(Path(place) / "job.json", description)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        command = [*torchrun, f"--shutdown-timeout={PATIENCE}", "-m", "skipclm.training.training_job", place]
        threads = {"OMP_NUM_THREADS": str(max(1, job.threads // count))}  # or torchrun says at length that it takes one
        variables = os.environ | job_environment.SAFE_PATH | threads
        with _processes_lock(job.snapshots):
            pass  # processes whose job and torchrun were killed save a snapshot before they go
        # The job's lock and its devices are torchrun's as well, as long as it lives.
        process = subprocess.Popen(command, env=variables, close_fds=False)
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            if [end["kind"] for end in _ends(place)] != ["done"] * count:
                raise
            status = 0  # told to end too late: they save what they have trained before they go
        found = _ends(place)
    if sizes := [end["micro_batch"] for end in found if end["kind"] == "memory"]:
        return min(sizes)
    if status:
        _raise(found, count)
    return None


def _ends(place: str) -> list[dict]:
    """Return how the processes ended, as far as they could tell."""
    return [atomic.read_json(path) for path in sorted(Path(place).glob("[0-9]*.json"))]


@contextmanager
def _processes_lock(snapshots: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock that the processes of a training share as long as they live."""
    with open(Path(snapshots) / "processes.lock", "a+") as file:  # a shared lock needs a readable file
        locks.wait_for_lock(file, shared)
        yield


def _raise(ends: list[dict], count: int) -> None:
    """Raise the error of the process whose it was, which others that miss it only follow; the killed leave none."""
    kinds = {end["kind"]: end["message"] for end in reversed(ends)}
    if "input" in kinds:
        raise InputError(kinds["input"])
    if "disk" in kinds:
        raise OSError(errno.ENOSPC, kinds["disk"])
    if "error" in kinds:
        raise RuntimeError(kinds["error"])
    raise RuntimeError(
        f"one of {count} processes was killed, for lack of memory perhaps, or could not start; the log above says which"
    )


def main(place: Path) -> None:
    """Do one process's part of a training, which a file in the folder `place` describes; leave there how it ended."""
    end, description = place / f"{os.environ['RANK']}.json", atomic.read_json(place / "job.json")
    checkout.version()  # of the code that trains, not of what it has become when the training ends
    jobs.install_signal_handlers(jobs.terminate)
    jobs.end_with_parents(2, description["starter"])
    try:
        with _processes_lock(description["job"]["snapshots"], shared=True):
            _train(TrainingJob(**description["job"]))
    except TerminatedError:
        atomic.write_json(end, {"kind": "terminated", "message": ""})
        sys.exit(128 + signal.SIGTERM)
    except ShortOfMemoryError as error:
        atomic.write_json(end, {"kind": "memory", "micro_batch": error.micro_batch})
        raise
    except Exception as error:
        kind = _kind(error)
        message = f"{type(error).__name__}: {error}" if kind == "error" else str(error)
        atomic.write_json(end, {"kind": kind, "message": message})
        raise
    atomic.write_json(end, {"kind": "done", "message": ""})


def _kind(error: Exception) -> str:
    """Tell what an error is of: the input, the disk, the connection to a process that has died, or anything else."""
    if isinstance(error, InputError):
        return "input"
    if jobs.is_of_the_disk(error):
        return "disk"
    return "connection" if isinstance(error, torch.distributed.DistError) or "/gloo/" in str(error) else "error"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
