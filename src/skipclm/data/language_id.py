"""Tell in which language a sentence is, by py3langid."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

LETTERS = 2  # fewer tell no language


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
