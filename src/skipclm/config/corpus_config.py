"""What the corpus section of a configuration means: its splits, where their text comes from, and for which pairs."""

import os
from copy import deepcopy

from skipclm.config import runs
from skipclm.data import sources
from skipclm.data.sources import SPLITS
from skipclm.demo import generator
from skipclm.errors import InputError, suggestion
from skipclm.pairs import Pair


def check(config: dict) -> None:
    """Raise an `InputError` for a split without a source, or a source without its files or the pairs' languages."""
    corpus = config["corpus"]
    for split in SPLITS:
        name, known = corpus[split]["source"], corpus["sources"]
        _check_source(f"corpus.{split}.source", name, known)
        if name is None and split == "train":
            raise InputError(
                f"corpus.train.source: expected one of {', '.join(known)}, found null; "
                "name one, since only valid and test can be carved from another split"
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


def _check_source(key: str, name: str | None, known: dict) -> None:
    if name is not None and name not in known:
        raise InputError(
            f"{key}: expected one of {', '.join(known)}, found {name!r}; define corpus.sources.{name} or "
            f"{suggestion(name, known)}"
        )


def texts_of(pairs: list[str]) -> dict[str, str]:
    """Return for each pair the one whose text it reads: its own or, if that comes first, that of the way back."""
    first: dict[frozenset, str] = {}
    return {pair: first.setdefault(frozenset(Pair(pair).languages), pair) for pair in pairs}


def text_pairs(config: dict) -> list[str]:
    """Return the pairs with text of their own."""
    return list(dict.fromkeys(texts_of(config["pairs"]).values()))


def resolve(config: dict) -> dict:
    """Return the corpus section without further test sets, and with each split's source written out."""
    corpus = runs.in_order(deepcopy(config["corpus"]))
    return _resolved(
        config, {split: corpus[split] for split in SPLITS}, ("folder", "seed", "cleaning", "largest_group")
    )


def resolve_test(config: dict, name: str) -> dict:
    """Return what a further test set depends on of the corpus section, with its source written out."""
    corpus = runs.in_order(deepcopy(config["corpus"]))
    return _resolved(config, {name: corpus["more_tests"][name]}, ("folder", "seed", "cleaning"))


def _resolved(config: dict, splits: dict[str, dict], keys: tuple[str, ...]) -> dict:
    """Return the corpus section's `keys`, and splits with their sources written out, each under its `name`.

    Without `codes`, its name is tried; where no language has a code of that name, the language keys are the codes.
    """
    corpus = runs.in_order(deepcopy(config["corpus"]))
    coded = {name for language in config["languages"].values() for name in language.get("codes", {})}
    named = {
        name: {"codes": name if name in coded else None} | source | {"name": name}
        for name, source in corpus["sources"].items()
    }
    splits = {split: settings | {"source": named.get(settings["source"])} for split, settings in splits.items()}
    resolved = {key: corpus[key] for key in keys} | splits
    if {source["kind"] for source in _used_sources(resolved)} == {"demo"}:
        resolved["folder"] = None  # nothing is read from it
    return resolved


def used_languages(config: dict, resolved: dict) -> dict[str, dict]:
    """Return what a resolved corpus depends on of the pairs' languages: the codes that its sources use."""
    used = {source["codes"] for source in _used_sources(resolved) if source["codes"]}
    languages = {name: config["languages"][name] for pair in config["pairs"] for name in Pair(pair).languages}
    return {
        name: {"codes": {code: value for code, value in sorted(language.get("codes", {}).items()) if code in used}}
        for name, language in languages.items()
    }


def source_files(config: dict, resolved: dict) -> list[str]:
    """Return the local files that a resolved corpus is made from, the built-in one's word lists included."""
    found = []
    for source in _used_sources(resolved):
        for pair in text_pairs(config):
            found += sources.files(source, resolved["folder"], config["languages"], pair)
        if source["kind"] == "demo":
            found += sorted(generator.resource_folder().glob("*.yaml"))
    return list(dict.fromkeys(os.path.relpath(path) for path in found))


def _used_sources(resolved: dict) -> list[dict]:
    return [part["source"] for part in resolved.values() if isinstance(part, dict) and part.get("source")]
