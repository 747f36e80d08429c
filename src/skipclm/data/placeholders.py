"""Say what a source of text means for one pair: its files, and its names at the hub.

A source's `path`, `dataset`, `config` and `fields` may hold placeholders, each replaced by the code that the
corpus uses for a language (`codes` names an entry of `languages.*.codes`):
{source}, {target}     the pair's two languages
{first}, {second}      the languages of a tab-separated file's columns
{alphabetical}         both codes, sorted and joined by a hyphen
{language}             either language, where each has a file, a dataset or a field of its own
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
    """One source as one pair sees it: placeholders filled, paths resolved."""

    source: dict
    folder: str | Path
    languages: dict
    pair: str

    @property
    def sides(self) -> tuple[str, str]:
        """The pair's source and target language."""
        return sides(self.pair, self.languages)

    @property
    def columns(self) -> tuple[str, str]:
        """The languages of a tab-separated file's first and second column."""
        source, target = self.sides
        first = self.source.get("first") or source
        if first not in (source, target):
            raise InputError(
                f"`first` must be a language of the pair {self.pair}, found {first!r}; "
                "leave it out where the first column is the pair's source language"
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
        """Return the source's `key` with its placeholders replaced."""
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
            if match[1] not in known:
                raise InputError(
                    f"`{key}: {self.source[key]}` holds {match[0]}; known here: "
                    + ", ".join(f"{{{name}}}" for name in known)
                )
            return "-".join(sorted(self.code(each) for each in known[match[1]]))

        # A brace after a dollar belongs to an environment variable.
        return self.source.get(key) and re.sub(r"(?<!\$)\{(\w+)\}", replace, self.source[key])

    def path(self, language: str | None = None) -> Path:
        """Return the source's file, or its file of one language."""
        return self.root / expand(self.fill("path", language))

    def paths(self) -> list[Path]:
        """Return the files of both languages."""
        return [self.path(language) for language in self.sides]

    def has_language(self, *keys: str) -> bool:
        """Tell whether any of the source's `keys` holds the placeholder {language}."""
        return any("{language}" in (self.source.get(key) or "") for key in keys)

    def need_language(self, *keys: str) -> None:
        """Raise InputError unless one of the source's `keys`, if there are any, holds {language}."""
        if keys and not self.has_language(*keys):
            names = " or ".join(f"`{key}`" for key in keys)
            found = ", ".join(repr(self.source.get(key)) for key in keys)
            raise InputError(
                f"expected {{language}} in {names}, found {found}; without it both sides are the same text"
            )


def expand(path: str | Path) -> Path:
    """Replace ~ and environment variables; raise InputError for a variable that is not set or a user without a home."""
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
    """Refuse a path that Snakemake would take for a pattern (InputError)."""
    if set("{}") & set(str(path)):
        raise InputError(f"expected a path without braces, which mean wildcards to Snakemake, found {path}; rename it")
