"""Locks on files by flock, which the system releases when a process dies.

The library filelock is not used: it has no shared locks, and child processes do not inherit its locks.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def try_lock(file: IO, shared: bool = False) -> bool:
    """Lock an open file, and return False if another process has locked it.

    On a network disk that does not support locks, the function returns True, as if this process had locked the file.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def wait_for_lock(file: IO, shared: bool = False) -> None:
    """Lock an open file; wait while another process has locked it."""
    if try_lock(file, shared):
        return
    print(f"waits for another process that works on {file.name}")
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


@contextmanager
def exclusive_lock(path: str | Path) -> Iterator[IO]:
    """Open and lock a file; remove it at the end if it is empty.

    Child processes that inherit open files, such as torchrun, hold the lock until they end.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a+", encoding="utf-8") as file:
            wait_for_lock(file)
            if not _is_file_at(path, file):  # the process that had the lock has removed the file
                continue
            os.set_inheritable(file.fileno(), True)
            try:
                yield file
            finally:
                if not os.fstat(file.fileno()).st_size:
                    path.unlink(missing_ok=True)
            return


def is_locked(path: Path) -> bool:
    """Return whether another process has locked a file; on a network disk without locks, always False."""
    try:
        with open(path, encoding="utf-8") as file:
            return not try_lock(file, shared=True)
    except OSError:
        return False


def _is_file_at(path: Path, file: IO) -> bool:
    """Return whether an open file is still the one at a path."""
    with suppress(FileNotFoundError):
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    return False
