"""The section `corpus` of the configuration: the splits, the sources of their text, and the pairs."""

import os
from collections.abc import Iterable
from copy import deepcopy

from skipclm.config import runs
from skipclm.data import sources
from skipclm.data.sources import SPLITS
from skipclm.demo import generator
from skipclm.errors import InputError, suggestion
from skipclm.pairs import Pair


def check(config: dict) -> None:
    """Raise an `InputError` for a split without a source, or a source without its files or without a language."""
    corpus = config["corpus"]
    for split in SPLITS:
        name, names = corpus[split]["source"], corpus["sources"]
        _check_source(f"corpus.{split}.source", name, names)
        if name is None and split == "train":
            raise InputError(
                f"corpus.train.source: expected one of {', '.join(names)}, found null; "
                "name one, because only valid and test can be carved from another split"
            )
        if name is None and corpus[split]["size"] is None:
            raise InputError(
                f"corpus.{split}.size: expected a number of pairs to carve from the training source, found null; "
                f"give a number, or name a corpus.{split}.source"
            )
    for name, split in corpus["more_tests"].items():
        if name in SPLITS:
            raise InputError(f"corpus.more_tests: expected none called {', '.join(SPLITS)}, found {name}; rename it")
        _check_source(f"corpus.more_tests.{name}.source", split["source"], corpus["sources"])
    parts = {SPLITS: resolve(config)} | {(name,): resolve_test(config, name) for name in corpus["more_tests"]}
    for splits, part in parts.items():
        sources.check_files(part, config["languages"], text_pairs(config), splits)
        _check_demo(part, config["pairs"])


def _check_demo(resolved: dict, pairs: list[str]) -> None:
    for source in _used_sources(resolved):
        foreign = {name for pair in pairs for name in Pair(pair).languages} - set(generator.LANGUAGES)
        if source["kind"] == "demo" and foreign:
            raise InputError(
                f"corpus.sources.{source['name']}: expected pairs of the built-in corpus's languages "
                f"({', '.join(generator.LANGUAGES)}), found {', '.join(sorted(foreign))}; correct pairs or the source"
            )


def _check_source(key: str, name: str | None, names: Iterable[str]) -> None:
    if name is not None and name not in names:
        raise InputError(
            f"{key}: expected one of {', '.join(names)}, found {name!r}; define corpus.sources.{name} or "
            f"{suggestion(name, names)}"
        )


def texts_of(pairs: list[str]) -> dict[str, str]:
    """Return for each pair the pair whose text it reads: the first one with the same two languages."""
    first: dict[frozenset, str] = {}
    return {pair: first.setdefault(frozenset(Pair(pair).languages), pair) for pair in pairs}


def text_pairs(config: dict) -> list[str]:
    """Return the pairs that have their own text."""
    return list(dict.fromkeys(texts_of(config["pairs"]).values()))


def resolve(config: dict) -> dict:
    """Return the section `corpus` with the settings of the source of each split, without `more_tests`."""
    corpus = runs.in_order(deepcopy(config["corpus"]))
    return _resolved(
        config, {split: corpus[split] for split in SPLITS}, ("folder", "seed", "cleaning", "largest_group")
    )


def resolve_test(config: dict, name: str) -> dict:
    """Return the parts of the section `corpus` that one of `more_tests` depends on, with the settings of its source."""
    corpus = runs.in_order(deepcopy(config["corpus"]))
    return _resolved(config, {name: corpus["more_tests"][name]}, ("folder", "seed", "cleaning"))


def _resolved(config: dict, splits: dict[str, dict], keys: tuple[str, ...]) -> dict:
    """Return the `keys` of the section `corpus`, and the splits with the settings of their sources.

    `codes` defaults to the name of the source if some language has codes of that name, and otherwise to the keys of the
    languages.
    """
    corpus = runs.in_order(deepcopy(config["corpus"]))
    code_names = {name for language in config["languages"].values() for name in language.get("codes", {})}
    by_name = {
        name: {"codes": name if name in code_names else None} | source | {"name": name}
        for name, source in corpus["sources"].items()
    }
    splits = {split: settings | {"source": by_name.get(settings["source"])} for split, settings in splits.items()}
    resolved = {key: corpus[key] for key in keys} | splits
    if {source["kind"] for source in _used_sources(resolved)} == {"demo"}:
        resolved["folder"] = None  # no source reads from it
    return resolved


def used_languages(config: dict, resolved: dict) -> dict[str, dict]:
    """Return the languages of the pairs, with the codes that the sources of a resolved corpus use."""
    used = {source["codes"] for source in _used_sources(resolved) if source["codes"]}
    languages = {name: config["languages"][name] for pair in config["pairs"] for name in Pair(pair).languages}
    return {
        name: {"codes": {code: value for code, value in sorted(language.get("codes", {}).items()) if code in used}}
        for name, language in languages.items()
    }


def source_files(config: dict, resolved: dict) -> list[str]:
    """Return the local files from which a resolved corpus is made, including the word lists of the built-in one."""
    files = []
    for source in _used_sources(resolved):
        for pair in text_pairs(config):
            files += sources.files(source, resolved["folder"], config["languages"], pair)
        if source["kind"] == "demo":
            files += sorted(generator.resource_folder().glob("*.yaml"))
    return list(dict.fromkeys(os.path.relpath(path) for path in files))


def unused_packages(resolved: dict) -> list[str]:
    """Return the packages of skipclm that only sources of other kinds than those of a resolved corpus need."""
    return [] if "demo" in {source["kind"] for source in _used_sources(resolved)} else ["demo"]


def _used_sources(resolved: dict) -> list[dict]:
    return [part["source"] for part in resolved.values() if isinstance(part, dict) and part.get("source")]
