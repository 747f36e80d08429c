"""What every job of the workflow runs in: its log, the ways in which it may end, and what becomes of its attempts."""

import errno
import fcntl
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from skipclm.errors import InputError, TerminatedError

# What the system and libraries say where nothing can be written; the last is torch's, whose message names no cause.
DISK = re.compile(r"No space left|Disk quota exceeded|Read-only file system|Permission denied|inline_container")
ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
WITHOUT_A_WORD = "killed, for lack of memory perhaps: it ended without a word"
PAUSE = 1.0  # seconds between two looks for the parents
SNAKEMAKE = re.compile(rb"(^|[/\0])snakemake(\0|$)")  # among the words of a command


@contextmanager
def job(log: str | Path, attempt: int = 1) -> Iterator[None]:
    """Send all that the block prints to `log`, which a further attempt continues, and end as others may tell it to.

    An `InputError`, and a disk that cannot be written to, end the program with the message alone. A SIGTERM raises a
    `TerminatedError`, so that what was half done is cleared away; it also comes when Snakemake is gone.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w" if attempt == 1 else "a", encoding="utf-8", buffering=1) as file:
        # The descriptors, not only sys.stderr: compiled libraries write there as well.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
            # By the line, so that both stay in order, and so that a job that is killed has said how far it came.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        if attempt > 1:
            print(f"\nattempt {attempt}")
        signal.signal(signal.SIGTERM, _terminate)
        end_with_parents()
        try:
            yield
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except TerminatedError:
            print("terminated; the next attempt goes on from the last snapshot, if there is one", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        except Exception as error:
            if not is_of_the_disk(error):
                raise
            print(f"error: cannot be written: {error}; make room or give the right, and run again", file=sys.stderr)
            sys.exit(1)


def _terminate(*_: object) -> None:
    raise TerminatedError


def is_of_the_disk(error: Exception) -> bool:
    """Tell whether an error means that the disk is full, or not to be written to."""
    return (isinstance(error, OSError) and error.errno in ERRNOS) or DISK.search(str(error)) is not None


@contextmanager
def trying(note: str | Path, is_last: bool) -> Iterator[str | None]:
    """Yield None if the job is to be tried, or on its last attempt why the one before failed, if it was to blame.

    The reason lies in the file `note` from one attempt to the next. A job is not to blame for bad input, for a disk
    that is full, or for being told to end. Nobody else works on what the note is of: the block begins when the one
    before has ended, on another machine perhaps.
    """
    with _locked(Path(note)) as file:
        reason = file.read() if is_last else ""
        _write(file, WITHOUT_A_WORD)
        try:
            yield reason or None
        except (InputError, TerminatedError, KeyboardInterrupt):
            Path(note).unlink()
            raise
        except Exception as error:
            if is_of_the_disk(error):
                Path(note).unlink()
            else:
                first = str(error).partition("\n")[0]
                _write(file, f"{type(error).__name__}: {first}")
            raise
        Path(note).unlink()


@contextmanager
def _locked(path: Path) -> Iterator[IO]:
    """Open a file to read and write, as soon as no other process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a+", encoding="utf-8") as file:
            with suppress(OSError):  # where a network's disk has no locks, we go without
                fcntl.flock(file, fcntl.LOCK_EX)
            os.set_inheritable(file.fileno(), True)  # processes that share the job hold it as long as they live
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:  # the other may have removed it
                file.seek(0)
                yield file
                return


def _write(file: IO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def end_with_parents(count: int | None = None) -> None:
    """Have this process get a SIGTERM once one of its parents is gone, killed perhaps, which nobody else tells it.

    Watched are so many of them, the nearest ones, or by default all up to the topmost Snakemake.
    """
    before = _parents(count)

    def watch() -> None:
        while _parents(len(before)) == before:
            time.sleep(PAUSE)
        os.kill(os.getpid(), signal.SIGTERM)

    if before:
        threading.Thread(target=watch, daemon=True).start()


def _parents(count: int | None = None) -> list[int]:
    """Return the process numbers of parent, its parent and so on: so many, or up to the topmost Snakemake."""
    found, top, process = [], 0, os.getpid()
    try:
        while process > 1 and len(found) != count:
            process = int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            found.append(process)
            if count is None and SNAKEMAKE.search(Path(f"/proc/{process}/cmdline").read_bytes()):
                top = len(found)
    except OSError:  # no Linux, or a process that has just gone
        pass
    return found[: top if count is None else count]
