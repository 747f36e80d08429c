"""What a user can mend, and the words that its messages share; and the end that others put to a job."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input: the message says what was expected, what was found and what to do.

    Scripts and the command line print it without a traceback and exit with status 1.
    """


class ShortOfMemoryError(RuntimeError):
    """One of several processes lacks memory; the `micro_batch` is what all of them may try next."""

    def __init__(self, micro_batch: int) -> None:
        super().__init__(f"out of memory; micro_batch {micro_batch} may do")
        self.micro_batch = micro_batch


class TerminatedError(BaseException):
    """A job was told to end, by SIGTERM, say; a training goes on from its last snapshot when it is started again.

    As little an `Exception` as KeyboardInterrupt is, so that nobody takes it for a fault of what was under way.
    """


def suggestion(name: str, known: Collection[str]) -> str:
    """Say what to do about an unknown name: the nearest of the `known` ones, if any is near."""
    lower = {each.lower(): each for each in known}
    nearest = get_close_matches(name.lower(), lower, n=1)
    return f"write {lower[nearest[0]]!r} if that is meant" if nearest else "correct it"


@contextmanager
def reading(place: object) -> Iterator[None]:
    """Raise an `InputError` where records in a `place` lack what this version of the package looks for in them."""
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
    """Begin the message of any InputError raised inside with the place it concerns, such as a config key."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error.__cause__
