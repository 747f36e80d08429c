"""What averages hide: for each translation, whether it is empty, a copy, in another language, a loop, or cut short."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

from skipclm.text import key, tidy

_WORD = re.compile(r"\w")
REPEATS = 4  # so many times in a row is a loop ...
SPAN = 60  # ... of a piece of so many characters at most
_LOOP = re.compile(rf"(.{{1,{SPAN}}}?)\1{{{REPEATS - 1},}}")
LETTERS = 2  # fewer tell no language


def is_empty(hypothesis: str) -> bool:
    """Tell whether there is no letter or digit."""
    return _WORD.search(key(hypothesis)) is None


def is_copy(hypothesis: str, source: str) -> bool:
    """Tell whether a translation is its source, but for case, spaces and invisible characters."""
    source, hypothesis = (key(tidy(text)).casefold() for text in (source, hypothesis))
    return source != "" and hypothesis == source


def is_loop(hypothesis: str, reference: str) -> bool:
    """Tell whether a piece comes four times in a row or more, and does not in the reference."""
    return _has_loop(hypothesis) and not _has_loop(reference)


def _has_loop(text: str) -> bool:
    # The space lets the last word repeat those before; digits and commas, as in 1,000,000,000,000, are a number.
    return any(any(each.isalpha() or each.isspace() for each in found[1]) for found in _LOOP.finditer(f"{text} "))


def identifier_signature(languages: Sequence[str]) -> str:
    """Say what tells languages apart, and among which."""
    return f"among:{'-'.join(sorted(languages))}|by:py3langid-{version('py3langid')}"


def is_wrong_language(hypothesis: str, language: str, languages: Sequence[str]) -> bool:
    """Tell whether a text is likelier to be in another of `languages` (ISO 639-1) than in `language`.

    A text without letters is in none, and not wrong.
    """
    if sum(character.isalpha() for character in hypothesis) < LETTERS:
        return False
    return _identifier(tuple(sorted(languages))).classify(hypothesis)[0] != language


def knows(language: str) -> bool:
    """Tell whether the identifier knows a language."""
    return language in _identifier().labels


@cache
def _identifier(languages: tuple[str, ...] = ()) -> object:
    """Return the identifier among some languages, or all that it knows; its `labels` name them."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    if languages:
        identifier.set_languages(languages)
    return identifier
