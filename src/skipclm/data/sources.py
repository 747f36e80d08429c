"""Read parallel text from files of three kinds, the Hugging Face hub or the built-in demo.

Files are plain or compressed (see `text_files`). In files of every kind, a blank line is a row with two blank sides.

A source is a mapping with a `kind`. `placeholders` describes its other keys.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from skipclm.data import hub, text_checks
from skipclm.data.placeholders import View, check_name, expand, sides
from skipclm.data.text_files import read_lines
from skipclm.errors import InputError, naming
from skipclm.pairs import Pair

SPLITS = ("train", "valid", "test")

Row = tuple[str, str]  # a sentence and its translation


def read(source: dict, folder: str | Path, languages: dict, pair: str) -> list[Row]:
    """Return the rows (source sentence, target sentence) of `pair`, in order and without cleaning.

    Raises InputError if data is missing, unreadable or misaligned.
    """
    view = View(source, folder, languages, pair)
    view.require_language(*_LANGUAGE_KEYS[source["kind"]])
    return _READERS[source["kind"]](view)


def files(source: dict, folder: str | Path, languages: dict, pair: str) -> list[Path]:
    """Return the local files that `source` reads for `pair`, without opening them; an empty list for the demo."""
    view = View(source, folder, languages, pair)
    if source["kind"] == "demo":
        return []
    view.require_language(*_LANGUAGE_KEYS[source["kind"]])
    for key in ("config", "fields"):
        view.fill(key, view.sides[0])  # raises InputError for an unknown placeholder
    if source["kind"] == "hub":
        folders = {_local_folder(view, language) for language in view.sides}
        return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return view.paths() if source["kind"] == "lines" else [view.path()]


def check_files(corpus: dict, languages: dict, pairs: list[str], splits: Iterable[str] = SPLITS) -> None:
    """Raise InputError, with the config key, for the first file that is missing or shared by unrelated pairs."""
    for pair in pairs:
        sides(pair, languages)
    for split in splits:
        source, owners = corpus[split]["source"], {}
        for pair in pairs if source else []:
            with naming(config_key(source, split)):
                paths = files(source, corpus["folder"], languages, pair)
            for path in paths:
                with naming(f"{config_key(source, split)}.path"):
                    _check_file(path, pair, corpus["folder"])
                    if source["kind"] == "tsv":
                        _check_owner(path, pair, owners)


def _check_file(path: Path, pair: str, folder: str) -> None:
    check_name(path)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise InputError(
            f"{path} (for {pair}) cannot be reached: {error.strerror}; correct the path or its permissions"
        ) from None
    if not is_file:
        raise InputError(
            f"{_what_is_at(path)} {path} (for {pair}); correct the path, or corpus.folder, which is {folder!r}"
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} (for {pair}) cannot be read: permission denied; change its permissions")


def _what_is_at(path: Path) -> str:
    """Describe what exists at a path that is not a file."""
    if path.is_dir():
        return "expected a file, found the folder"
    if path.exists():
        return "expected a file, found a pipe, socket or device,"
    if path.is_symlink():
        return f"expected a file, found a link to {os.readlink(path)}, which does not exist,"
    return "there is no file"


def _check_owner(path: Path, pair: str, owners: dict[Path, str]) -> None:
    """Raise InputError if pairs of different languages share a file; de-en may read the file of en-de."""
    owner = owners.setdefault(path, pair)
    if owner not in (pair, Pair(pair).reverse):
        raise InputError(
            f"expected a file for each pair, found {path} for both {owner} and {pair}; put {{source}} and {{target}} "
            "into the path, or leave one of them out of `pairs`"
        )


def config_key(source: dict, split: str) -> str:
    """Return the config key of `source`: that of its `name` if it has one, else that of the split."""
    return f"corpus.sources.{source['name']}" if source.get("name") else f"corpus.{split}.source"


def origin(source: dict, languages: dict, pair: str) -> str:
    """Return a short label of the origin of the rows, such as "tsv:eng-deu.tsv"."""
    view = View(source, "", languages, pair)
    if source["kind"] == "demo":
        return "demo"
    if source["kind"] == "hub":
        revision = source.get("revision")
        names = dict.fromkeys(view.fill("dataset", language) for language in view.sides)
        name = ",".join(names) + (f"@{revision}" if revision else "")
        return f"hub:{name}:{source['split']}"
    return f"{source['kind']}:" + ",".join(path.name for path in files(source, "", languages, pair))


def _from_demo(view: View) -> list[Row]:
    from skipclm.demo import generator

    sentences = generator.generate(view.source["size"], view.source["seed"])
    missing = set(view.sides) - set(sentences[0] if sentences else view.sides)
    if missing:
        raise InputError(
            f"expected languages of the demo corpus ({', '.join(sorted(sentences[0]))}), found "
            f"{', '.join(sorted(missing))}; leave {view.pair} out of `pairs` or use another source"
        )
    return [tuple(sentence[language] for language in view.sides) for sentence in sentences]


def _from_tsv(view: View) -> list[Row]:
    path, rows = view.path(), []
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t") if line.strip() else ["", ""]
        if len(columns) != 2:
            raise InputError(
                f"{path}, line {number}: expected two columns separated by one tab, found {len(columns)}; "
                "correct the line, or cut a file of more columns to the two sentences (cut -f 1,2)"
            )
        rows.append(tuple(columns))
    _check_header(path, rows, view)
    is_swapped = view.columns != view.sides
    return [(second, first) for first, second in rows] if is_swapped else rows


def _from_lines(view: View) -> list[Row]:
    paths = view.paths()
    texts = [read_lines(path) for path in paths]
    _check_aligned(texts, [str(path) for path in paths], "lines")
    rows = list(zip(*texts, strict=True))
    _check_header(paths[0], rows, view)
    return rows


def _check_header(path: Path, rows: list[Row], view: View) -> None:
    with naming(f"{path}, line 1"):
        for row in rows[:1]:
            text_checks.check_header(row, [*view.sides, *map(view.code, view.sides)])


def _from_jsonl(view: View) -> list[Row]:
    path = view.path()
    fields = [view.fill("fields", language) for language in view.sides]
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        with naming(f"{path}, line {number}"):
            record = _parse(line) if line.strip() else dict.fromkeys(fields, "")
            rows.append(tuple(_check_string(_look_up(record, field), field) for field in fields))
    return rows


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected one JSON object, found {line[:60]!r} ({error})") from None


def _look_up(record: Any, field: str) -> Any:
    """Return the value at a dotted path, or None. A key that itself contains dots takes precedence."""
    if not isinstance(record, dict):
        return None
    if field in record:
        return record[field]
    dots = [index for index, character in enumerate(field) if character == "."]
    values = (_look_up(record.get(field[:dot]), field[dot + 1 :]) for dot in reversed(dots))
    return next((value for value in values if value is not None), None)


def _check_string(value: Any, field: str) -> str:
    if not isinstance(value, str):
        shown = "nothing" if value is None else repr(value)[:60]
        raise InputError(
            f"expected a string at `{field}`, found {shown}; correct `fields` or the data (from CSV, words such as NA "
            "are read as nothing and digits as numbers: write it as JSONL or TSV)"
        )
    return value


def _from_hub(view: View) -> list[Row]:
    has_two_tables = view.has_language("dataset", "config")
    tables = [_load(view, language) for language in view.sides] if has_two_tables else [_load(view)] * 2
    fields = [view.fill("fields", language) for language in view.sides]
    texts = [_texts(table, name) for table, name in zip(tables, fields, strict=True)]
    join = view.source.get("join")
    if has_two_tables and join:
        return hub.join_rows(texts, [hub.column(table, join) for table in tables], view.sides, join)
    _check_aligned(texts, [f"{view.source['dataset']} ({language})" for language in view.sides], "rows")
    return list(zip(*texts, strict=True))


def _load(view: View, language: str | None = None) -> Any:
    name, config = view.fill("dataset", language), view.fill("config", language)
    revision = view.source.get("revision")
    return hub.load_table(name, config, view.source["split"], revision, _local_folder(view, language))


def _local_folder(view: View, language: str | None) -> Path:
    """Return the path of the local folder that replaces a hub data set if it exists."""
    return view.root / expand(view.fill("dataset", language))


def _texts(table: Any, field: str) -> list[str]:
    texts = []
    for number, value in enumerate(hub.column(table, field), start=1):
        with naming(f"row {number}"):
            texts.append(_check_string(value, field))
    return texts


def _check_aligned(texts: list[list[str]], names: list[str], unit: str) -> None:
    if len(texts[0]) != len(texts[1]):
        raise InputError(
            f"expected the same number of {unit} on both sides, found {len(texts[0])} in {names[0]} and "
            f"{len(texts[1])} in {names[1]}; number n of one must be the translation of number n of the other"
        )


# By kind, the keys of which at least one must contain {language}. A tsv row and the demo hold both languages.
_LANGUAGE_KEYS = {
    "demo": (),
    "tsv": (),
    "lines": ("path",),
    "jsonl": ("fields",),
    "hub": ("dataset", "config", "fields"),
}
_READERS: dict[str, Callable[[View], list[Row]]] = {
    "demo": _from_demo,
    "tsv": _from_tsv,
    "lines": _from_lines,
    "jsonl": _from_jsonl,
    "hub": _from_hub,
}
