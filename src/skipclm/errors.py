"""The one exception for what a user can mend."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: the message says what was expected, what was found and what to do.

    Scripts and the command line print it without a traceback and exit with status 1.
    """


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Begin the message of any InputError raised inside with the place it concerns, such as a config key."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error.__cause__
