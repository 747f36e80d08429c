"""Resolve a source of text for one pair: its files, and its names on the hub.

`path`, `dataset`, `config` and `fields` of a source may contain placeholders. Each is replaced by the code that the
source uses for a language (`codes` names an entry of `languages.*.codes`):
{source}, {target}     the two languages of the pair
{first}, {second}      the languages of the columns of a tab-separated file
{alphabetical}         both codes, sorted and joined by a hyphen
{language}             one of the two languages, if each has its own file, dataset or field
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from skipclm.errors import InputError, naming
from skipclm.pairs import Pair


def sides(pair: str, languages: dict) -> tuple[str, str]:
    """Return the source and target language of "en-de"; raise InputError unless both are configured."""
    source, target = Pair(pair).languages
    if source == target or not {source, target} <= set(languages):
        raise InputError(
            f"pairs: expected two different languages of {sorted(languages)} joined by a hyphen, found "
            f"{pair!r}; correct the pair or add the language to `languages`"
        )
    return source, target


@dataclass(frozen=True)
class View:
    """A source for one pair, with placeholders replaced and paths resolved."""

    source: dict
    folder: str | Path
    languages: dict
    pair: str

    @property
    def sides(self) -> tuple[str, str]:
        """The source and the target language of the pair."""
        return sides(self.pair, self.languages)

    @property
    def columns(self) -> tuple[str, str]:
        """The languages of the first and the second column of a tab-separated file."""
        source, target = self.sides
        first = self.source.get("first") or source
        if first not in (source, target):
            raise InputError(
                f"`first` must be a language of the pair {self.pair}, found {first!r}; "
                "leave it out if the first column is the pair's source language"
            )
        return first, target if first == source else source

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""
        with naming("corpus.folder"):
            return expand(self.folder)

    def code(self, language: str) -> str:
        """Return the code that the source uses for a language."""
        name = self.source.get("codes")
        if name is None:
            return language
        codes = self.languages[language].get("codes") or {}
        if name not in codes:
            raise InputError(
                f"languages.{language}.codes.{name} is missing, found {', '.join(codes) or 'no code'}; "
                f"add there how this source spells {language}"
            )
        return codes[name]

    def fill(self, key: str, language: str | None = None) -> str | None:
        """Return the value of the source's `key` with placeholders replaced; raises InputError for unknown ones."""
        (source, target), (first, second) = self.sides, self.columns
        known = {
            "source": [source],
            "target": [target],
            "first": [first],
            "second": [second],
            "alphabetical": [source, target],
        }
        known |= {"language": [language]} if language else {}

        def replace(match: re.Match) -> str:
            """Return the codes that replace one placeholder."""
            if match[1] not in known:
                raise InputError(
                    f"`{key}: {self.source[key]}` holds {match[0]}; known here: "
                    + ", ".join(f"{{{name}}}" for name in known)
                )
            return "-".join(sorted(self.code(name) for name in known[match[1]]))

        # `${...}` is an environment variable, not a placeholder.
        return self.source.get(key) and re.sub(r"(?<!\$)\{(\w+)\}", replace, self.source[key])

    def path(self, language: str | None = None) -> Path:
        """Return the file of the source, or its file for one language."""
        return self.root / expand(self.fill("path", language))

    def paths(self) -> list[Path]:
        """Return the files of both languages."""
        return [self.path(language) for language in self.sides]

    def has_language(self, *keys: str) -> bool:
        """Tell whether any of the source's `keys` contains the placeholder {language}."""
        return any("{language}" in (self.source.get(key) or "") for key in keys)

    def require_language(self, *keys: str) -> None:
        """Raise InputError if `keys` are given and none of them contains {language} in the source."""
        if keys and not self.has_language(*keys):
            names = " or ".join(f"`{key}`" for key in keys)
            values = ", ".join(repr(self.source.get(key)) for key in keys)
            raise InputError(
                f"expected {{language}} in {names}, found {values}; without it both sides are the same text"
            )


def expand(path: str | Path) -> Path:
    """Expand ~ and environment variables; raises InputError for an unset variable or a user without a home folder."""
    for name in re.findall(r"\$\{?(\w+)", str(path)):
        if name not in os.environ:
            raise InputError(
                f"the environment variable {name} in {str(path)!r} is not set; set it or write the path out"
            )
    expanded = os.path.expanduser(os.path.expandvars(path))
    if expanded.startswith("~"):
        raise InputError(
            f"expected a user with a home folder, found {expanded.partition('/')[0]} in {str(path)!r}; correct the "
            "name, write the path out, or put ./ before it if that is a folder's name"
        )
    return Path(expanded)


def check_name(path: str | Path) -> None:
    """Raise InputError for a path with braces, which Snakemake reads as wildcards."""
    if set("{}") & set(str(path)):
        raise InputError(f"expected a path without braces, which mean wildcards to Snakemake, found {path}; rename it")
