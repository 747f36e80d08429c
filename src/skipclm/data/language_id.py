"""Identify the language of a sentence with py3langid."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

LETTERS = 2  # for a text with fewer letters, no language is identified


def identifier_signature(languages: Sequence[str]) -> str:
    """Return the signature of the identifier: its version and the candidate languages."""
    return f"among:{'-'.join(sorted(languages))}|by:py3langid-{version('py3langid')}"


def is_wrong_language(hypothesis: str, language: str, languages: Sequence[str]) -> bool:
    """Tell whether the identifier finds another one of `languages` (ISO 639-1) more likely than `language`.

    Returns False for a text with fewer than LETTERS letters.
    """
    if sum(character.isalpha() for character in hypothesis) < LETTERS:
        return False
    return _identifier(tuple(sorted(languages))).classify(hypothesis)[0] != language


def knows(language: str) -> bool:
    """Tell whether the identifier supports a language."""
    return language in _identifier().labels


@cache
def _identifier(languages: tuple[str, ...] = ()) -> object:
    """Return the identifier for these languages, or for all that it supports; `labels` lists those."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # slow: takes a second

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    if languages:
        identifier.set_languages(languages)
    return identifier
