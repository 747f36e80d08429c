"""The context of every job of the workflow: its log, its signals, and its attempts."""

import errno
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from skipclm.errors import InputError, TerminatedError
from skipclm.runtime import checkout, console, invocation, locks
from skipclm.runtime.job_environment import INVOCATION

# Signals that end a job: from a cluster or Snakemake, from Ctrl-C, from a terminal that closes.
ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Messages of the system and of libraries when a file cannot be written. The last two, from torch, name no cause.
DISK = re.compile(
    r"No space left|Disk quota exceeded|Read-only file system|Permission denied|inline_container|iostream error"
)
ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE}
KILLED = "killed, perhaps for lack of memory or with its machine; it left no message"
PAUSE = 1.0  # seconds between two checks of the parent processes
WATCH = "parents"  # the name of the thread that checks them
SNAKEMAKE = re.compile(rb"(^|[/\0])snakemake(\0|$)")  # one of the arguments of a command


@contextmanager
def job(log: str | Path, script: str | Path | None = None, code: str | None = None) -> Iterator[None]:
    """Redirect all output of the block to `log`, and handle errors and signals.

    The log of the previous attempt is moved to `log`.before. `code` is the digest of the script when the job was
    planned; if the code has changed since, the job does nothing.

    If an `InputError` is raised or the disk cannot be written to, the program ends with a message and without a
    traceback. A signal raises a `TerminatedError` in the block, so that temporary files are removed. The job also ends
    when Snakemake has died.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    if Path(log).exists():
        os.replace(log, f"{log}.before")  # a job of a killed Snakemake may still write there
    console.open_outputs()
    console.flush_outputs()
    checkout.version()  # now: the code may be edited before the job ends
    with open(log, "w", encoding="utf-8", buffering=1) as file:
        # The descriptors, not only sys.stderr: compiled libraries write there as well.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            # Line buffering keeps both streams in order, and the log of a killed job complete.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        install_signal_handlers(terminate)
        end_with_parents()
        try:
            if code:
                invocation.check_code(script, code)
            yield
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except TerminatedError:
            print("terminated; the next attempt resumes from the last snapshot, if there is one", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        except Exception as error:
            if not is_disk_error(error):
                raise
            remedy = "free some space, correct the permissions or repair the disk, and run again"
            print(f"error: cannot read or write: {error}; {remedy}", file=sys.stderr)
            sys.exit(1)


def install_signal_handlers(handler: Callable) -> dict[signal.Signals, Callable]:
    """Call `handler` on the signals of `ENDINGS`; return the previous handlers by signal.

    Signals that the process was started to ignore, for example by nohup, stay ignored.
    """
    handled = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


def terminate(*_: object) -> None:
    """Raise a `TerminatedError`, once: a second signal does not interrupt the cleanup."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    record_signal()
    raise TerminatedError


def finish() -> None:
    """Ignore further signals, because the rest of the job takes less time than a repetition of the job."""
    for number in ENDINGS:
        if signal.getsignal(number) is terminate:
            signal.signal(number, lambda *_: record_signal())


def is_disk_error(error: Exception) -> bool:
    """Return whether an error means that the disk is full, read-only or gone."""
    return (isinstance(error, OSError) and error.errno in ERRNOS) or DISK.search(str(error)) is not None


@contextmanager
def limited_attempts(crash_file: str | Path, attempts: int, progress: int = 0) -> Iterator[str | None]:
    """Yield None, or the reason of the last crash (a line and a traceback) after `attempts` crashes without progress.

    Crashes are recorded in `crash_file` until the job succeeds. The count is reset to zero if another Snakemake process
    runs the job, or if the job has made progress since the last crash: `progress` (for example the step of its
    snapshot) is then different. Invalid input, a full disk and signals do not count as crashes. The file is locked:
    only one process works on the job at a time.
    """
    with locks.exclusive_lock(crash_file) as file:
        before = _Crashes.read(file, progress)
        _jobs.append((file, before))
        before.with_crash(KILLED).write(file)
        try:
            yield before.cause if before.count >= attempts else None
        except (InputError, TerminatedError):
            before.write(file)
            raise
        except Exception as error:
            cause = "".join([f"{_in_one_line(error)}\n", *traceback.format_exception(error)])
            (before if is_disk_error(error) else before.with_crash(cause)).write(file)
            raise
        finally:
            _jobs.pop()
        file.truncate(0)


@dataclass(frozen=True)
class _Crashes:
    """The crashes of a job under one Snakemake (`invocation`), since it began at the same place (`progress`)."""

    invocation: str | None
    progress: int
    count: int = 0
    cause: str = ""

    @classmethod
    def read(cls, file: IO, progress: int) -> "_Crashes":
        now = cls(os.environ.get(INVOCATION), progress)
        file.seek(0)
        try:
            recorded = cls(**json.load(file))
        except (ValueError, TypeError):  # an empty or damaged file
            return now
        return recorded if (recorded.invocation, recorded.progress) == (now.invocation, now.progress) else now

    def with_crash(self, cause: str) -> "_Crashes":
        return replace(self, count=self.count + 1, cause=cause)

    def write(self, file: IO) -> None:
        file.seek(0)
        file.truncate()
        if self.count:
            json.dump(asdict(self), file)
        file.flush()


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


# The current jobs of this process, and their earlier crashes.
_jobs: list[tuple[IO, _Crashes]] = []


def record_signal() -> None:
    """Record in the crash file that this process does not end by a crash.

    This is done as soon as the signal arrives, because a job that then takes too long to end may be killed.
    """
    for file, before in _jobs:
        before.write(file)


def end_with_parents(count: int | None = None, topmost: int | None = None) -> None:
    """Send this process a SIGTERM when one of its parent processes has died.

    The nearest `count` parent processes are watched; by default, all up to the topmost Snakemake. `topmost` is the
    process id that the last of them should have; if the last one has another id, the expected process has already died,
    and SIGTERM is sent at once. A second call does nothing.
    """
    if any(thread.name == WATCH for thread in threading.enumerate()):
        return
    before = _parents(count)
    if topmost is not None and before[-1:] != [topmost]:
        os.kill(os.getpid(), signal.SIGTERM)

    def watch() -> None:
        while _parents(len(before)) == before:
            time.sleep(PAUSE)
        os.kill(os.getpid(), signal.SIGTERM)

    if before:
        threading.Thread(target=watch, name=WATCH, daemon=True).start()


def _parents(count: int | None = None) -> list[int]:
    """Return the process ids of the parent, its parent and so on: `count` of them, or up to the topmost Snakemake."""
    parents, topmost_snakemake, process = [], 0, os.getpid()
    try:
        while process > 1 and len(parents) != count:
            process = int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            parents.append(process)
            if count is None and SNAKEMAKE.search(Path(f"/proc/{process}/cmdline").read_bytes()):
                topmost_snakemake = len(parents)
    except OSError:  # not Linux, or a process that has just ended
        pass
    return parents[: topmost_snakemake if count is None else count]
