"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Bad input: the message says what was expected, what was found and what to do.

    Scripts and the command line print it without a traceback and exit with status 1.
    """
