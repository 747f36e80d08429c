"""Print to standard output and standard error, even if they are closed, full, gone, or of another encoding."""

import os
import signal
import sys
from contextlib import suppress
from typing import IO

from skipclm.errors import InputError

OUTPUTS = {1: "stdout", 2: "stderr"}


def open_outputs() -> list[str]:
    """Open /dev/null in place of the outputs that this process was started without; return their names in `sys`.

    Otherwise there is nothing to print to, and a file that is opened later gets the descriptor, and with it what
    compiled libraries and child processes print. A descriptor that such a file has got already is left to it.
    """
    missing = [name for name in OUTPUTS.values() if getattr(sys, name) is None]
    for number, name in OUTPUTS.items():
        if name in missing:
            place = os.devnull if _is_open(number) else _open_null(number)
            setattr(sys, name, open(place, "w", encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
    return missing


def _is_open(number: int) -> bool:
    with suppress(OSError):
        os.fstat(number)
        return True
    return False


def _open_null(number: int) -> int:
    """Open /dev/null at a descriptor that is free, for this process and for those that it starts."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
    return number


def show(text: str) -> None:
    """Print text as far as standard output takes it, and raise nothing.

    Characters that its encoding lacks become backslash escapes. Where it is full, closed or gone, nothing is printed.
    """
    try:
        _write(sys.stdout, text)
    except (OSError, ValueError, AttributeError):  # no room or no reader, closed by Python, not there at all
        discard(sys.stdout)


def write(text: str) -> None:
    """Print the result of a command to standard output.

    Raises an `InputError` if that cannot be written to. A reader that has left ends the program, as SIGPIPE would.
    """
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        discard(sys.stdout)
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        discard(sys.stdout)
        raise InputError(
            f"standard output: expected room for what is printed, found: {error.strerror}; redirect it elsewhere"
        ) from None


def _write(stream: IO, text: str) -> None:
    stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
    stream.flush()


def complain(text: str) -> None:
    """Print a line to standard error, if that takes it; raise nothing."""
    with suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


def settle() -> None:
    """Have what could not be printed not fail the program when it ends, as Python would with status 120."""
    for name in OUTPUTS.values():
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError, AttributeError):
            discard(getattr(sys, name))


def discard(stream: IO | None) -> None:
    """Send what a stream still holds, and gets from here on, to /dev/null."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
