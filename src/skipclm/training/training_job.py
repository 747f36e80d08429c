"""One training as the workflow runs it: from files to files, in one or several processes."""

import errno
import os
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
from skipclm.runtime import atomic, checkout, devices, job_environment, jobs, locks, provenance, snapshots, tsv
from skipclm.runtime.snapshots import Snapshots
from skipclm.training import fine_tuning

SHUTDOWN_TIMEOUT = 600  # seconds that processes have to save a snapshot after a signal


@dataclass(frozen=True)
class TrainingJob:
    """One training: its settings, the files that it reads (base, train, valid) and writes (model, history, record).

    `code` identifies the code that trains. `model` and `snapshots` are folders; a snapshot is saved every
    `snapshot_minutes`. All processes together use `threads` threads. If `tensorboard` names a folder, events for
    TensorBoard are written there. `micro_batch` replaces that of the settings when memory is short.
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
        """The digest of everything that determines the outcome."""
        facts = {"pair": self.pair, "seed": self.seed, "settings": self.settings, "code": self.code}
        files = [self.train, self.valid, *snapshots.model_files(self.base)]
        return snapshots.fingerprint(facts | {"versions": provenance.versions()}, files)

    def open_snapshots(self) -> Snapshots:
        """Return the snapshots of this training."""
        return Snapshots(self.snapshots, self.fingerprint, self.snapshot_minutes)

    @property
    def facts(self) -> dict:
        """The part of the record that is known before the training."""
        return {"pair": self.pair, "seed": self.seed, "settings": self.settings, "fingerprint": self.fingerprint}


def run(job: TrainingJob, failure: str | None = None) -> None:
    """Do a training, or restore its stored outputs.

    If `failure` is given, record the training as failed for this reason; its model has no weights. Raises the errors of
    `fine_tuning.train`, and a `RuntimeError` if one of several processes died.
    """
    outputs, stored = [Path(job.model), Path(job.history), Path(job.record)], Path(job.snapshots) / snapshots.TRAINING
    if snapshots.restore(outputs, stored, job.fingerprint):
        return
    if failure:
        _record_failure(job, failure)
    elif job.settings["training"]["processes"] > 1:
        _train_in_processes(job)
    else:
        _train(job)
    snapshots.store(outputs, stored, job.fingerprint)
    job.open_snapshots().remove()


def _record_failure(job: TrainingJob, failure: str) -> None:
    print(f"given up: {failure}")
    record = job.facts | {"status": "failed", "reason": failure.partition("\n")[0]} | provenance.environment()
    with atomic.new_folder(job.model) as folder:
        atomic.write_json(folder / provenance.RECORD, record)
    tsv.write(job.history, pd.DataFrame({"step": []}))
    atomic.write_json(job.record, record)


def _train(job: TrainingJob) -> None:
    """Train in this process, which may be one of several; only the first one writes outputs."""
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
        job.snapshots,
        callbacks=_tensorboard(job) if rank == 0 else [],
        snapshots=job.open_snapshots(),
    )
    if rank > 0:
        return
    record = job.facts | outcome.facts | provenance.environment()
    with atomic.new_folder(job.model) as folder:
        checkpoints.save(outcome.model, tokenizer, folder, record)
    tsv.write(job.history, pd.DataFrame(outcome.history))
    atomic.write_json(job.record, record)


def _tensorboard(job: TrainingJob) -> list[TrainerCallback]:
    """Return a callback that writes events for TensorBoard, if the job asks for it."""
    if job.tensorboard is None:
        return []
    from torch.utils.tensorboard import SummaryWriter  # needs the optional package tensorboard

    return [TensorBoardCallback(SummaryWriter(job.tensorboard))]


def _train_in_processes(job: TrainingJob) -> None:
    """Train in several processes; if memory is short, start them again with a smaller micro-batch."""
    count, visible = job.settings["training"]["processes"], devices.visible()
    if visible and len(visible) < count:
        raise InputError(
            f"training.processes: expected at most the {len(visible)} devices of this job, found {count}; lower it, or "
            "give the job more devices"
        )
    while smaller := _run_processes(job, count):
        job = replace(job, micro_batch=smaller)


def _run_processes(job: TrainingJob, count: int) -> int | None:
    """Train in `count` processes of torchrun, each running this module.

    Returns the micro-batch for the next attempt if memory is short, otherwise None.
    """
    # In the temporary folder of this machine, because the disk with the results may be full.
    with tempfile.TemporaryDirectory() as folder:
        atomic.write_json(Path(folder) / "job.json", {"job": asdict(job), "starter": os.getpid()})
        with _processes_lock(job.snapshots):
            pass  # wait until the processes of an earlier, killed torchrun have saved their snapshot and ended
        status = _run_torchrun(job, count, folder)
        endings = _read_endings(folder)
    if sizes := [ending["micro_batch"] for ending in endings if ending["kind"] == "memory"]:
        return min(sizes)
    if status:
        _raise_first_cause(endings, count)
    return None


def _run_torchrun(job: TrainingJob, count: int, folder: str) -> int:
    """Run torchrun for the job in a folder; return its exit status."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [*torchrun, f"--shutdown-timeout={SHUTDOWN_TIMEOUT}", "-m", "skipclm.training.training_job", folder]
    # torchrun sets OMP_NUM_THREADS to one, with a long warning, unless it is set.
    threads = {"OMP_NUM_THREADS": str(max(1, job.threads // count))}
    # torchrun inherits the open lock files of the job and its devices, and holds these locks until it ends.
    process = subprocess.Popen(command, env=os.environ | job_environment.SAFE_PATH | threads, close_fds=False)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        if [ending["kind"] for ending in _read_endings(folder)] != ["done"] * count:
            raise
        return 0  # the signal came after the last step


def _read_endings(folder: str) -> list[dict]:
    """Return how the processes ended; a killed process leaves no file."""
    return [atomic.read_json(path) for path in sorted(Path(folder).glob("[0-9]*.json"))]


@contextmanager
def _processes_lock(snapshot_folder: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock that all processes of a training share while they run."""
    path = Path(snapshot_folder) / "processes.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:  # a shared lock needs a readable file
        locks.wait_for_lock(file, shared)
        yield


def _raise_first_cause(endings: list[dict], count: int) -> None:
    """Raise the error of the process that failed first; the others then fail because they lose the connection to it."""
    messages = {ending["kind"]: ending["message"] for ending in reversed(endings)}
    if "input" in messages:
        raise InputError(messages["input"])
    if "disk" in messages:
        raise OSError(errno.ENOSPC, messages["disk"])
    if "error" in messages:
        raise RuntimeError(messages["error"])
    raise RuntimeError(
        f"one of {count} processes was killed, perhaps for lack of memory, or could not start; see the log above"
    )


def main(folder: Path) -> None:
    """Train in one process of several; `job.json` in the folder describes the job. Write there how it ended."""
    file, description = folder / f"{os.environ['RANK']}.json", atomic.read_json(folder / "job.json")
    checkout.version()  # now: the code may be edited before the training ends
    jobs.install_signal_handlers(jobs.terminate)
    jobs.end_with_parents(2, description["starter"])
    try:
        with _processes_lock(description["job"]["snapshots"], shared=True):
            _train(TrainingJob(**description["job"]))
    except TerminatedError:
        atomic.write_json(file, {"kind": "terminated", "message": ""})
        sys.exit(128 + signal.SIGTERM)
    except Exception as error:
        atomic.write_json(file, _describe_ending(error))
        raise
    atomic.write_json(file, {"kind": "done", "message": ""})


def _describe_ending(error: Exception) -> dict:
    """Return what the starting process needs to know about an error."""
    if isinstance(error, ShortOfMemoryError):
        return {"kind": "memory", "message": "", "micro_batch": error.micro_batch}
    if isinstance(error, InputError):
        return {"kind": "input", "message": str(error)}
    if jobs.is_disk_error(error):
        return {"kind": "disk", "message": str(error)}
    if isinstance(error, torch.distributed.DistError) or "/gloo/" in str(error):
        return {"kind": "connection", "message": str(error)}
    return {"kind": "error", "message": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
