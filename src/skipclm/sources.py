"""Read parallel text from wherever it lies: files of three kinds, the hub, the built-in demo.

A source is a mapping with a `kind`. Its `path`, `dataset`, `config` and `fields` may hold placeholders, each
replaced by the code that the corpus uses for a language (`codes` names an entry of `languages.*.codes`):
{source}, {target}     the pair's two languages
{first}, {second}      the languages of a tab-separated file's columns
{alphabetical}         both codes, sorted and joined by a hyphen
{language}             either language, where each has a file, a dataset or a field of its own
"""

import codecs
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipclm.errors import InputError

Row = tuple[str, str]  # a sentence and its translation


def read(source: dict, folder: str | Path, languages: dict, pair: str) -> list[Row]:
    """Return the (source sentence, target sentence) rows of `pair` as they stand, uncleaned, in order.

    Raises InputError for anything missing, unreadable or misaligned.
    """
    return _READERS[source["kind"]](_View(source, folder, languages, pair))


def files(source: dict, folder: str | Path, languages: dict, pair: str) -> list[Path]:
    """Return the local files that `source` reads for `pair`, without opening them (none for demo and hub)."""
    view = _View(source, folder, languages, pair)
    if source["kind"] in ("demo", "hub"):
        return []
    return view.paths() if source["kind"] == "lines" else [view.path()]


def check_files(corpus: dict, languages: dict, pairs: list[str]) -> None:
    """Raise InputError for the first file of any split that is missing, naming its config key."""
    for pair in pairs:
        sides(pair, languages)
    for split in ("train", "valid", "test"):
        source = corpus[split]["source"]
        for pair in pairs if source else []:
            with naming(config_key(source, split)):
                found = files(source, corpus["folder"], languages, pair)
            for path in found:
                if not path.is_file():
                    raise InputError(
                        f"{config_key(source, split)}.path: there is no file {path} (for {pair}); "
                        f"correct the path, or corpus.folder, which is {corpus['folder']!r}"
                    )


def config_key(source: dict, split: str) -> str:
    """Return where a user finds `source` in the config: under its `name` if it has one, else at its split."""
    return f"corpus.sources.{source['name']}" if source.get("name") else f"corpus.{split}.source"


def origin(source: dict, languages: dict, pair: str) -> str:
    """Return a short label of where rows come from, such as "tsv:eng-deu.tsv"."""
    view = _View(source, "", languages, pair)
    if source["kind"] == "demo":
        return "demo"
    if source["kind"] == "hub":
        revision = source.get("revision")
        name = view.source["dataset"] + (f"@{revision}" if revision else "")
        return f"hub:{name}:{source['split']}"
    return f"{source['kind']}:" + ",".join(path.name for path in files(source, "", languages, pair))


def read_lines(path: str | Path) -> list[str]:
    r"""Return the lines of a UTF-8 file, without a byte order mark and line ends.

    Only "\n" and "\r\n" end a line: `str.splitlines` would also cut at the separators that web text holds
    inside sentences (U+2028, U+0085, form feeds), and two files would lose their alignment.
    """
    try:
        data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
        lines = data.decode("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: expected UTF-8, found the byte 0x{data[error.start]:02x}; "
            "convert the file (iconv -f ... -t utf-8) or mend the line"
        ) from None
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def sides(pair: str, languages: dict) -> tuple[str, str]:
    """Return the source and target language of "en-de"; raise InputError unless both are configured."""
    source, _, target = pair.partition("-")
    if source == target or not {source, target} <= set(languages):
        raise InputError(
            f"pairs: expected two different languages of {sorted(languages)} joined by a hyphen, found "
            f"{pair!r}; correct the pair or add the language to `languages`"
        )
    return source, target


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Begin the message of any InputError raised inside with the config key it concerns."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{key}: {error}") from error.__cause__


@dataclass(frozen=True)
class _View:
    """One source as one pair sees it: placeholders filled, paths resolved."""

    source: dict
    folder: str | Path
    languages: dict
    pair: str

    @property
    def sides(self) -> tuple[str, str]:
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

    def code(self, language: str) -> str:
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
        return _expand(self.folder) / _expand(self.fill("path", language))

    def paths(self) -> list[Path]:
        self.need_language("path")
        return [self.path(language) for language in self.sides]

    def has_language(self, *keys: str) -> bool:
        return any("{language}" in (self.source.get(key) or "") for key in keys)

    def need_language(self, *keys: str) -> None:
        if not self.has_language(*keys):
            names = " or ".join(f"`{key}`" for key in keys)
            found = ", ".join(repr(self.source.get(key)) for key in keys)
            raise InputError(
                f"expected {{language}} in {names}, found {found}; without it both sides are the same text"
            )


def _expand(path: str | Path) -> Path:
    for name in re.findall(r"\$\{?(\w+)", str(path)):
        if name not in os.environ:
            raise InputError(
                f"the environment variable {name} in {str(path)!r} is not set; set it or write the path out"
            )

    return Path(os.path.expanduser(os.path.expandvars(path)))


def _from_demo(view: _View) -> list[Row]:
    from skipclm import demo

    sentences = demo.generate(view.source["size"], view.source["seed"])
    missing = set(view.sides) - set(sentences[0] if sentences else view.sides)
    if missing:
        raise InputError(
            f"the demo corpus speaks {', '.join(sorted(sentences[0]))}, not {', '.join(sorted(missing))}; "
            f"leave {view.pair} out of `pairs` or use another source"
        )
    return [tuple(sentence[language] for language in view.sides) for sentence in sentences]


def _from_tsv(view: _View) -> list[Row]:
    path, rows = view.path(), []
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise InputError(
                f"{path}, line {number}: expected two columns separated by one tab, found {len(columns)}; "
                "cut the file to the two sentences (cut -f 1,2) or mend the line"
            )
        rows.append(tuple(columns))
    turned = view.columns != view.sides
    return [(second, first) for first, second in rows] if turned else rows


def _from_lines(view: _View) -> list[Row]:
    paths = view.paths()
    texts = [read_lines(path) for path in paths]
    _check_aligned(texts, [str(path) for path in paths], "lines")
    return list(zip(*texts, strict=True))


def _from_jsonl(view: _View) -> list[Row]:
    view.need_language("fields")
    path = view.path()
    fields = [view.fill("fields", language) for language in view.sides]
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        with naming(f"{path}, line {number}"):
            record = _parse(line)
            rows.append(tuple(_string(_look_up(record, field), field) for field in fields))
    return rows


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"expected one JSON object, found {line[:60]!r} ({error.msg})") from None


def _look_up(record: Any, field: str) -> Any:
    for key in field.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _string(value: Any, field: str) -> str:
    if not isinstance(value, str):
        found = "nothing" if value is None else repr(value)[:60]
        raise InputError(f"expected a string at `{field}`, found {found}; correct `fields` or the data")
    return value


def _from_hub(view: _View) -> list[Row]:
    view.need_language("dataset", "config", "fields")
    apart = view.has_language("dataset", "config")
    tables = [_load(view, language) for language in view.sides] if apart else [_load(view)] * 2
    fields = [view.fill("fields", language) for language in view.sides]
    texts = [_texts(table, name) for table, name in zip(tables, fields, strict=True)]
    join = view.source.get("join")
    if apart and join:
        return _join(texts, [_column(table, join) for table in tables], view.sides, join)
    _check_aligned(texts, [f"{view.source['dataset']} ({language})" for language in view.sides], "rows")
    return list(zip(*texts, strict=True))


def _load(view: _View, language: str | None = None) -> Any:
    from datasets import load_dataset

    name, config = view.fill("dataset", language), view.fill("config", language)
    local = _expand(view.folder) / _expand(name)
    # An absolute path, for a relative one such as "json" would be taken for a file format.
    where = str(local.resolve()) if local.is_dir() else name
    split, revision = view.source["split"], view.source.get("revision")
    try:
        return load_dataset(where, config, split=split, revision=revision)
    except Exception as error:  # whatever it is, the user's remedies are the same
        raise InputError(
            f"could not load the dataset {name!r} (config {config!r}, split {split!r}): {error}\n"
            "Check the names and the network. If it is gated, accept its licence on its page and log in "
            "(hf auth login). Without a network, download it and let `dataset` name the local folder."
        ) from error


def _column(table: Any, field: str) -> list:
    flat = table.flatten()  # nested fields become columns with dotted names
    if field not in flat.column_names:
        raise InputError(f"expected a field `{field}`, found {', '.join(flat.column_names)}; correct its name")
    return flat[field][:]


def _texts(table: Any, field: str) -> list[str]:
    texts = []
    for number, value in enumerate(_column(table, field), start=1):
        with naming(f"row {number}"):
            texts.append(_string(value, field))
    return texts


def _join(texts: list[list[str]], keys: list[list], languages: tuple[str, str], join: str) -> list[Row]:
    source, target = (dict(zip(*side, strict=True)) for side in zip(keys, texts, strict=True))
    for language, rows, unique in zip(languages, keys, (source, target), strict=True):
        if len(unique) < len(rows):
            raise InputError(
                f"`join: {join}` must be unique: {language} has {len(rows)} rows and {len(unique)} values "
                "of it; join by another column, or leave `join` out if the rows are aligned"
            )
    if source.keys() != target.keys():
        both = source.keys() & target.keys()
        raise InputError(
            f"`join: {join}` must match: {len(both)} rows do, {len(source) - len(both)} are only in "
            f"{languages[0]} and {len(target) - len(both)} only in {languages[1]}; choose a config, split or "
            "revision where both are whole"
        )
    return [(text, target[key]) for key, text in source.items()]


def _check_aligned(texts: list[list[str]], names: list[str], unit: str) -> None:
    if len(texts[0]) != len(texts[1]):
        raise InputError(
            f"expected as many {unit} on both sides, found {len(texts[0])} in {names[0]} and {len(texts[1])} "
            f"in {names[1]}; number n of one must be the translation of number n of the other"
        )


_READERS: dict[str, Callable[[_View], list[Row]]] = {
    "demo": _from_demo,
    "tsv": _from_tsv,
    "lines": _from_lines,
    "jsonl": _from_jsonl,
    "hub": _from_hub,
}
