"""What every job of the workflow runs in: its log, the ways in which it may end, and what becomes of its attempts."""

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

# How a job is told to end: by a cluster or by Snakemake, by Ctrl-C, by a terminal that closes.
ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What the system and libraries say where nothing can be written; the last two are torch's, and name no cause.
DISK = re.compile(
    r"No space left|Disk quota exceeded|Read-only file system|Permission denied|inline_container|iostream error"
)
ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE}
WITHOUT_A_WORD = "killed, for lack of memory perhaps, or with its machine: it ended without a word"
PAUSE = 1.0  # seconds between two looks for the parents
WATCH = "parents"  # the name of the thread that looks for them
SNAKEMAKE = re.compile(rb"(^|[/\0])snakemake(\0|$)")  # among the words of a command


@contextmanager
def job(log: str | Path, script: str | Path | None = None, code: str | None = None) -> Iterator[None]:
    """Send all that the block prints to `log`, and end as others may tell it to.

    What the attempt before has logged goes to `log`.before. `code` is the digest that the script had when the job was
    planned: with another one, nothing is done.

    An `InputError`, and a disk that cannot be written to, end the program with the message alone. What tells it to end
    raises a `TerminatedError`, so that what was half done is cleared away; that comes when Snakemake is gone, too.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    if Path(log).exists():
        os.replace(log, f"{log}.before")  # where a job of a Snakemake that was killed may still write
    console.open_outputs()
    console.settle()
    checkout.version()  # of the code that runs from here on, not of what it has become when the job ends
    with open(log, "w", encoding="utf-8", buffering=1) as file:
        # The descriptors, not only sys.stderr: compiled libraries write there as well.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            # By the line, so that both stay in order, and so that a job that is killed has said how far it came.
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
            print("terminated; the next attempt goes on from the last snapshot, if there is one", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        except Exception as error:
            if not is_of_the_disk(error):
                raise
            remedy = "make room, give the right or mend the disk, and run again"
            print(f"error: cannot be read or written: {error}; {remedy}", file=sys.stderr)
            sys.exit(1)


def install_signal_handlers(handler: Callable) -> dict[signal.Signals, Callable]:
    """Have a handler called when this process is told to end; return those that were called before.

    What the process was started to ignore, by nohup, say, it goes on to ignore.
    """
    heard = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def terminate(*_: object) -> None:
    """Raise a `TerminatedError`, once: a second signal is not to interrupt the clearing away."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    told_to_end()
    raise TerminatedError


def finish() -> None:
    """Have nothing end this job from here on: what is left takes less time than what would be done again."""
    for number in ENDINGS:
        if signal.getsignal(number) is terminate:
            signal.signal(number, lambda *_: told_to_end())


def is_of_the_disk(error: Exception) -> bool:
    """Tell whether an error means that the disk is full, not to be written to, or gone."""
    return (isinstance(error, OSError) and error.errno in ERRNOS) or DISK.search(str(error)) is not None


@contextmanager
def limited_attempts(note: str | Path, attempts: int, so_far: int = 0) -> Iterator[str | None]:
    """Yield None if the job is to be tried, or why it died if it has died so many times: a line, and its traceback.

    What it died of is kept in the file `note` until it succeeds, for as long as the Snakemake that started it goes on:
    under another one it is tried anew, as it is when it begins elsewhere than when it last died (`so_far`, in steps,
    say). A job has not died of bad input, of a disk that is full, or of being told to end. Nobody else works on what
    the note is of: the block begins when the one before has ended, on another machine perhaps.
    """
    with locks.exclusive_lock(note) as file:
        before = _Deaths.read(file, so_far)
        _working_on.append((file, before))
        before.and_one_of(WITHOUT_A_WORD).write(file)
        try:
            yield before.cause if before.count >= attempts else None
        except (InputError, TerminatedError):
            before.write(file)
            raise
        except Exception as error:
            cause = "".join([f"{_in_a_line(error)}\n", *traceback.format_exception(error)])
            (before if is_of_the_disk(error) else before.and_one_of(cause)).write(file)
            raise
        finally:
            _working_on.pop()
        file.truncate(0)


@dataclass(frozen=True)
class _Deaths:
    """How often a job has died under this Snakemake and from where it begins now, and what of the last time."""

    under: str | None
    so_far: int
    count: int = 0
    cause: str = ""

    @classmethod
    def read(cls, file: IO, so_far: int) -> "_Deaths":
        now = cls(os.environ.get(INVOCATION), so_far)
        file.seek(0)
        try:
            found = cls(**json.load(file))
        except (ValueError, TypeError):  # empty, or torn
            return now
        return found if (found.under, found.so_far) == (now.under, now.so_far) else now

    def and_one_of(self, cause: str) -> "_Deaths":
        return replace(self, count=self.count + 1, cause=cause)

    def write(self, file: IO) -> None:
        file.seek(0)
        file.truncate()
        if self.count:
            json.dump(asdict(self), file)
        file.flush()


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


# What this process tries, and how often it had died before.
_working_on: list[tuple[IO, _Deaths]] = []


def told_to_end() -> None:
    """Note that a death that may follow is no fault of the job: it was told to end, and may be killed if it is slow."""
    for file, before in _working_on:
        before.write(file)


def end_with_parents(count: int | None = None, topmost: int | None = None) -> None:
    """Have this process get a SIGTERM once one of its parents is gone, killed perhaps, which nobody else tells it.

    Watched are so many of them, the nearest ones, or by default all up to the topmost Snakemake. Where `topmost` is not
    the last of them, it is gone already. A second call does nothing.
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
