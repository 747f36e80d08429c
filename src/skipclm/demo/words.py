"""Words of the built-in corpus, and functions that the grammars of its languages share."""

from collections.abc import Callable
from dataclasses import dataclass, field

KINDS = ("persons", "names", "cities", "nouns", "verbs", "adjectives", "numbers", "phrases")
PERSONS = ("I", "you", "he", "she", "we", "they")


@dataclass(frozen=True, eq=False)
class Lexeme:
    """One word in all languages: `forms["de"]` holds its principal parts, `extras` its irregular forms."""

    name: str
    kind: str
    forms: dict[str, tuple[str, ...]]
    extras: dict[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> str:
        """The English pronoun that stands for this word: I, you, he, she, we or they."""
        return self.extras.get("agrees", "he")


class UnknownForm(ValueError):
    """A slot requests a form that its word does not have."""


Words = tuple[Lexeme, ...]
Keywords = tuple[str, ...]
Inflector = Callable[[Lexeme, Keywords, Words], str]


def table_by_person(**rows: str) -> dict[str, dict[str, str]]:
    """Turn `was="was were ..."` into {"was": {"I": "was", "you": "were", ...}}."""
    return {name: dict(zip(PERSONS, row.split(), strict=True)) for name, row in rows.items()}


def first_word(words: Words, *kinds: str) -> Lexeme | None:
    """Return the first word of one of these kinds, or None."""
    return next((word for word in words if word.kind in kinds), None)


def pick(keywords: Keywords, allowed: tuple[str, ...] | dict, default: str) -> str:
    """Return the first keyword that is in `allowed`, else `default`."""
    return next((keyword for keyword in keywords if keyword in allowed), default)


def principal_part(word: Lexeme, language: str, index: int) -> str:
    """Return one principal part; a word with a single form has this form for every part."""
    parts = word.forms[language]
    if len(parts) > 1 and index >= len(parts):
        raise UnknownForm(f"{word.name!r} has {len(parts)} forms in {language}, form {index + 1} is needed")
    return parts[min(index, len(parts) - 1)]
