"""Leases of GPUs: Snakemake counts the GPUs of a machine but does not assign them, so each job leases its own.

A lease is a lock on a file, which the kernel releases when the job ends, even by SIGKILL. The devices are those of the
inherited CUDA_VISIBLE_DEVICES, or all devices of the machine. A job sees only the devices that it has leased. In a
Slurm job, which has devices of its own, the locks are separate from those of other jobs.
"""

import itertools
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from skipclm.errors import InputError
from skipclm.runtime import locks

VARIABLE = "CUDA_VISIBLE_DEVICES"
NO_DEVICE = "NoDevFiles"  # the value that older versions of Slurm set for a job without devices
PAUSE = 0.2  # seconds between two attempts to lease


def visible() -> list[str]:
    """Return the names of the devices that this process may use, in the form of CUDA_VISIBLE_DEVICES.

    As in CUDA, an invalid name, such as -1, hides itself and all that follow.
    """
    if VARIABLE in os.environ:
        names = [name.strip() for name in os.environ[VARIABLE].split(",")]
        return list(itertools.takewhile(lambda name: name and not name.startswith("-") and name != NO_DEVICE, names))
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


@contextmanager
def lease(count: int = 1, jobs_per_device: int = 1) -> Iterator[list[str]]:
    """Wait for `count` free devices, hide all others from this process during the block, and yield their names.

    Up to `jobs_per_device` jobs hold a device at a time. On a machine without devices, the list is empty. Call this
    before CUDA is used. Raises an `InputError` if `count` is larger than the number of devices.
    """
    names, before = visible(), os.environ.get(VARIABLE)
    if not names or not count:
        yield []
        return
    if count > len(names):
        raise InputError(
            f"expected {count} devices for one job, found {len(names)} ({', '.join(names)}); ask for fewer, or make "
            f"more visible by {VARIABLE}"
        )
    with ExitStack() as open_locks:
        leased = _wait_for(names, count, jobs_per_device, open_locks)
        os.environ[VARIABLE] = ",".join(leased)
        print(f"leased: device {', '.join(leased)}")
        try:
            yield leased
        finally:
            os.environ[VARIABLE] = before if before is not None else ",".join(names)


def _wait_for(names: list[str], count: int, jobs_per_device: int, open_locks: ExitStack) -> list[str]:
    """Lock `count` of the devices, all or none, so that two jobs never wait for each other.

    A device gets a second job only if every other device already has a job.
    """
    while True:
        with ExitStack() as attempt:
            leased = []
            for slot, name in itertools.product(range(jobs_per_device), names):
                if len(leased) < count and name not in leased and (file := _lock(f"{name}.{slot}")):
                    attempt.enter_context(file)
                    leased.append(name)
            if len(leased) == count:
                open_locks.enter_context(attempt.pop_all())
                return leased
        time.sleep(PAUSE)


def _lock(name: str) -> IO | None:
    """Return the open lock file of a device, or None if another job holds it. The caller closes the file."""
    file = open(lock_folder() / name.replace("/", "_"), "a")  # noqa: SIM115
    if not locks.try_lock(file):
        file.close()
        return None
    os.set_inheritable(file.fileno(), True)  # torchrun or COMET holds the lock until it ends
    return file


def lock_folder() -> Path:
    """Return the folder of the locks, one for each user and Slurm job, on a disk of this machine; make it if needed.

    Raises an `InputError` unless this user owns the folder. In /tmp, another user could put a link in its place.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    folder = Path(tempfile.gettempdir()) / f"skipclm-devices-{os.getuid()}{job and f'-{job}'}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        fault = "a link" if stat.S_ISLNK(status.st_mode) else "a file"
    elif status.st_uid != os.getuid():
        fault = "a folder of another user"
    elif not os.access(folder, os.W_OK | os.X_OK):
        fault = "one that cannot be written to"
    else:
        return folder
    raise InputError(
        f"expected a folder of this user at {folder}, for the locks of GPUs, found {fault}; remove it, or set TMPDIR "
        "to another folder"
    )
