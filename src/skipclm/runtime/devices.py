"""Devices that jobs on one machine share: Snakemake counts GPUs but hands none out, so each job leases its own.

A lease is a lock on a file, which the kernel lets go when its holder dies, even by SIGKILL. The devices are those of
the inherited CUDA_VISIBLE_DEVICES, or all that there are; a job sees only what it has leased. In a Slurm job, whose
devices are its own already, locks are that job's alone, so that it leases what it was given.
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
NO_DEVICE = "NoDevFiles"  # what an older Slurm says where a job has none
PAUSE = 0.2  # seconds between two looks for a free device


def visible() -> list[str]:
    """Return the names of the devices that this process may use, as CUDA_VISIBLE_DEVICES has them.

    As for CUDA, what is no device, such as -1, hides itself and all that follow.
    """
    if VARIABLE in os.environ:
        names = [name.strip() for name in os.environ[VARIABLE].split(",")]
        return list(itertools.takewhile(lambda name: name and not name.startswith("-") and name != NO_DEVICE, names))
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


@contextmanager
def lease(count: int = 1, jobs_per_device: int = 1) -> Iterator[list[str]]:
    """Wait for `count` free devices, show this process no others while the block runs, and yield their names.

    With `jobs_per_device`, so many jobs may hold a device at a time. Where there is no device, nothing is leased and
    the list is empty. Has to come before CUDA is used. Raises an `InputError` for more devices than there are.
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
    with ExitStack() as held:
        leased = _wait_for(names, count, jobs_per_device, held)
        os.environ[VARIABLE] = ",".join(leased)
        print(f"leased: device {', '.join(leased)}")
        try:
            yield leased
        finally:
            os.environ[VARIABLE] = before if before is not None else ",".join(names)


def _wait_for(names: list[str], count: int, jobs_per_device: int, held: ExitStack) -> list[str]:
    """Lock `count` of the devices for a job, all or none, so that two jobs never wait for each other.

    A device's second share goes only when no first one is left.
    """
    while True:
        with ExitStack() as tried:
            leased = []
            for slot, name in itertools.product(range(jobs_per_device), names):
                if len(leased) < count and name not in leased and (file := _lock(f"{name}.{slot}")):
                    tried.enter_context(file)
                    leased.append(name)
            if len(leased) == count:
                held.enter_context(tried.pop_all())
                return leased
        time.sleep(PAUSE)


def _lock(name: str) -> IO | None:
    """Return the open lock file of a device, which the caller closes, or None if another job holds it."""
    file = open(lock_folder() / name.replace("/", "_"), "a")  # noqa: SIM115
    if not locks.try_lock(file):
        file.close()
        return None
    os.set_inheritable(file.fileno(), True)  # torchrun, or COMET, holds it as long as it lives
    return file


def lock_folder() -> Path:
    """Make, if need be, and return the folder of the locks: one for each user and Slurm job, on a disk of this machine.

    Raises an `InputError` unless it is a folder of this user's: in /tmp, others could put a link in its place.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    folder = Path(tempfile.gettempdir()) / f"skipclm-devices-{os.getuid()}{job and f'-{job}'}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        what = "a link" if stat.S_ISLNK(found.st_mode) else "a file"
    elif found.st_uid != os.getuid():
        what = "a folder of another user's"
    elif not os.access(folder, os.W_OK | os.X_OK):
        what = "one that cannot be written to"
    else:
        return folder
    raise InputError(
        f"expected a folder of this user's at {folder}, for the locks of GPUs, found {what}; remove it, or let the "
        "variable TMPDIR name another place"
    )
