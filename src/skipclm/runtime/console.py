"""Print to standard output and standard error, even if they are closed, full, or have another encoding."""

import os
import signal
import sys
from contextlib import suppress
from typing import IO

from skipclm.errors import InputError

OUTPUTS = {1: "stdout", 2: "stderr"}


def open_outputs() -> list[str]:
    """Open /dev/null for each output that was closed when this process started; return their names in `sys`.

    Otherwise a file that is opened later gets the descriptor, and with it the output of compiled libraries and child
    processes. A descriptor that is already in use stays as it is.
    """
    missing = [name for name in OUTPUTS.values() if getattr(sys, name) is None]
    for number, name in OUTPUTS.items():
        if name in missing:
            file = os.devnull if _is_open(number) else _open_null(number)
            setattr(sys, name, open(file, "w", encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
    return missing


def _is_open(number: int) -> bool:
    with suppress(OSError):
        os.fstat(number)
        return True
    return False


def _open_null(number: int) -> int:
    """Open /dev/null at a free descriptor, for this process and its child processes."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
    return number


def show(text: str) -> None:
    """Print text to standard output if that is possible; never raise an error.

    Characters that its encoding lacks become backslash escapes.
    """
    try:
        _write(sys.stdout, text)
    except (OSError, ValueError, AttributeError):  # a full disk or no reader, closed, None
        discard(sys.stdout)


def write(text: str) -> None:
    """Print the result of a command to standard output.

    Raises an `InputError` if it cannot be written to. If the reader has closed a pipe, the program ends as by SIGPIPE.
    """
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        discard(sys.stdout)
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        discard(sys.stdout)
        raise InputError(
            f"standard output: expected an output that can be written, found: {error.strerror}; redirect it elsewhere"
        ) from None


def _write(stream: IO, text: str) -> None:
    stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
    stream.flush()


def print_error(text: str) -> None:
    """Print a line to standard error if that is possible; never raise an error."""
    with suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


def flush_outputs() -> None:
    """Flush both outputs, and ignore failures. Otherwise Python would exit with status 120 at the end."""
    for name in OUTPUTS.values():
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError, AttributeError):
            discard(getattr(sys, name))


def discard(stream: IO | None) -> None:
    """Redirect a stream to /dev/null, including the text in its buffer."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
