"""The exceptions of the package, and context managers and words for their messages."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input: the message says what was expected, what was found and what to do.

    Scripts and the command line print it without a traceback and exit with status 1.
    """


class ShortOfMemoryError(RuntimeError):
    """One of several processes is out of memory; `micro_batch` is the size that all of them should try next."""

    def __init__(self, micro_batch: int) -> None:
        super().__init__(f"out of memory; try micro_batch {micro_batch}")
        self.micro_batch = micro_batch


class TerminatedError(BaseException):
    """A signal such as SIGTERM ended the job; a restarted training resumes from its last snapshot.

    It is no `Exception`, like KeyboardInterrupt, so that no handler takes it for an error of the job.
    """


def suggestion(name: str, known: Collection[str]) -> str:
    """Return the remedy for an unknown name: the closest of the `known` names, if one is close."""
    lower = {candidate.lower(): candidate for candidate in known}
    nearest = get_close_matches(name.lower(), lower, n=1)
    return f"write {lower[nearest[0]]!r} if that is meant" if nearest else "correct it"


@contextmanager
def reading(place: object) -> Iterator[None]:
    """Raise an `InputError` if the records of a `place` do not have the form that this version expects."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{place}: expected records that this version can read, found one that is damaged or another version's "
            f"({type(error).__name__}: {error}); run the workflow again, or use the version that wrote it"
        ) from error


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Put the `place`, such as a config key, before the message of any InputError raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error.__cause__
