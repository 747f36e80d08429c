"""Sources of text: tab-separated, line-aligned, JSON Lines and the built-in corpus."""

import gzip
import json
import os
from pathlib import Path

import pytest

from skipclm.data import sources
from skipclm.demo import generator
from skipclm.errors import InputError

LANGUAGES = {"en": {}, "de": {}, "zh": {}}
ROWS = [("One.", "Eins."), ("Two.", "Zwei.")]


def write(path, text):
    """Write text or bytes to a file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(source, folder, pair="en-de"):
    """Return the rows of a source."""
    return sources.read(source, folder, LANGUAGES, pair)


def tsv(path="a.tsv", **keys):
    return {"kind": "tsv", "path": path, **keys}


def lines(path="text.{language}", **keys):
    return {"kind": "lines", "path": path, **keys}


def jsonl(fields="translation.{language}", **keys):
    return {"kind": "jsonl", "path": "a.jsonl", "fields": fields, **keys}


# Tab-separated files


@pytest.mark.parametrize(
    ("pair", "keys", "expected"),
    [
        ("en-de", {}, ROWS),
        ("en-de", {"first": "en"}, ROWS),
        ("de-en", {"first": "en"}, [("Eins.", "One."), ("Zwei.", "Two.")]),
        ("de-en", {}, ROWS),  # by default, the first column is the source; here this is wrong
    ],
)
def test_first_names_the_language_of_the_first_column(tmp_path, pair, keys, expected):
    write(tmp_path / "a.tsv", "One.\tEins.\r\nTwo.\tZwei.\r\n")
    assert read(tsv(**keys), tmp_path, pair) == expected


def test_first_must_be_a_language_of_the_pair(tmp_path):
    with pytest.raises(InputError, match=r"`first` must be a language of the pair en-de, found 'zh'"):
        read(tsv(first="zh"), tmp_path)


@pytest.mark.parametrize(("line", "columns"), [("One. Eins.", 1), ("One.\tEins.\tCC-BY", 3)])
def test_tsv_line_must_have_two_columns(tmp_path, line, columns):
    write(tmp_path / "a.tsv", f"Zero.\tNull.\n{line}\n")
    with pytest.raises(InputError, match=rf"a\.tsv, line 2: expected two columns .* found {columns};"):
        read(tsv(), tmp_path)


@pytest.mark.parametrize("blank", ["", " ", "\t", "\r", "\u3000"])
def test_blank_line_is_a_blank_row_in_all_kinds_of_files(tmp_path, blank):
    expected = [ROWS[0], ("", ""), ROWS[1], ("", "")]
    sides = [("One.", "Eins."), ("Two.", "Zwei.")]
    write(tmp_path / "a.tsv", "".join("\t".join(row) + f"\n{blank}\n" for row in sides))
    objects = [json.dumps({"translation": {"en": en, "de": de}}) for en, de in sides]
    write(tmp_path / "a.jsonl", "".join(f"{line}\n{blank}\n" for line in objects))
    for number, language in enumerate(("en", "de")):
        write(tmp_path / f"text.{language}", "".join(f"{row[number]}\n{blank}\n" for row in sides))
    for source in (tsv(), jsonl(), lines()):
        assert [tuple(side.strip() for side in row) for row in read(source, tmp_path)] == expected


# Line-aligned files


@pytest.mark.parametrize("path", ["text.{language}", "{source}-{target}/train.{language}"])
def test_lines_are_paired_by_number(tmp_path, path):
    for language, column in zip(("en", "de"), zip(*ROWS, strict=True), strict=True):
        name = path.format(language=language, source="en", target="de")
        write(tmp_path / name, "\n".join(column))
    assert read(lines(path), tmp_path) == ROWS


def test_unequal_lines_are_counted(tmp_path):
    write(tmp_path / "text.en", "One.\nTwo.\n")
    write(tmp_path / "text.de", "Eins.\n")
    with pytest.raises(InputError, match=r"found 2 in .*text\.en and 1 in .*text\.de"):
        read(lines(), tmp_path)


def test_one_file_for_both_sides_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected \{language\} in `path`, found 'text'"):
        read(lines("text"), tmp_path)


# JSON lines


def test_jsonl_follows_dotted_fields(tmp_path):
    records = [{"id": 1, "translation": {"en": en, "de": de}} for en, de in ROWS]
    write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)))
    assert read(jsonl(), tmp_path) == ROWS
    assert read(jsonl(), tmp_path, "de-en") == [(de, en) for en, de in ROWS]


@pytest.mark.parametrize(
    "record",
    [
        {"text.en": "One.", "text.de": "Eins."},
        {"text.en": "One.", "text.de": "Eins.", "text": {"en": "Other.", "de": "Anderes."}},
        {"text.en": "One.", "text": {"de": "Eins."}},
        {"text": {"en": "One."}, "text.de": "Eins.", "text.d": {"e": "Anderes."}},
    ],
)
def test_key_with_dots_takes_precedence_over_a_path(tmp_path, record):
    write(tmp_path / "a.jsonl", json.dumps(record))
    assert read(jsonl("text.{language}"), tmp_path) == ROWS[:1]


@pytest.mark.parametrize("field", ["v1.0.{language}", "v1.0.text.{language}", "a.b.c.d.{language}"])
def test_keys_with_dots_may_be_parts_of_a_path(tmp_path, field):
    sides = {"en": "One.", "de": "Eins."}
    record = {"v1.0": sides | {"text": sides}, "a": {"b.c": {"d": sides}, "b": None}}
    write(tmp_path / "a.jsonl", json.dumps(record))
    assert read(jsonl(field), tmp_path) == ROWS[:1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"translation": {"en": "Two."}}', r"at `translation\.de`, found nothing"),
        ('{"translation": {"en": "Two.", "de": 2}}', r"at `translation\.de`, found 2"),
        ('{"translation": "Two."}', r"at `translation\.en`, found nothing"),
        ("[]", r"at `translation\.en`, found nothing"),
        ("{", "expected one JSON object, found '{'"),
    ],
)
def test_jsonl_errors_name_file_and_line(tmp_path, line, message):
    write(tmp_path / "a.jsonl", '{"translation": {"en": "One.", "de": "Eins."}}\n' + line + "\n")
    with pytest.raises(InputError, match=rf"a\.jsonl, line 2: .*{message}"):
        read(jsonl(), tmp_path)


def test_jsonl_needs_a_field_for_each_language(tmp_path):
    with pytest.raises(InputError, match=r"expected \{language\} in `fields`"):
        read(jsonl("text"), tmp_path)


# Demo


def test_demo_rows_have_the_languages_of_the_pair(monkeypatch):
    sentences = [{"en": "One.", "de": "Eins.", "tr": "Bir."}, {"en": "Two.", "de": "Zwei.", "tr": "İki."}]
    monkeypatch.setattr(generator, "generate", lambda count, seed: sentences[:count])
    source = {"kind": "demo", "size": 2, "seed": 1}
    assert read(source, ".") == ROWS
    assert sources.files(source, ".", LANGUAGES, "en-de") == []
    with pytest.raises(InputError, match=r"demo corpus \(de, en, tr\), found zh"):
        read(source, ".", "en-zh")


# Files and labels


def test_check_files_names_key_and_file(tmp_path):
    write(tmp_path / "a.tsv", "One.\tEins.\n")
    write(tmp_path / "text.en", "One.\n")
    corpus = {
        "folder": str(tmp_path),
        "train": {"source": tsv()},
        "valid": {"source": None},
        "test": {"source": lines()},
    }
    with pytest.raises(InputError, match=r"corpus\.test\.source\.path: there is no file .*text\.de \(for en-de\)"):
        sources.check_files(corpus, LANGUAGES, ["en-de"])
    corpus["test"]["source"]["name"] = "news"
    with pytest.raises(InputError, match=r"corpus\.sources\.news\.path: there is no file .*text\.de"):
        sources.check_files(corpus, LANGUAGES, ["en-de"])
    write(tmp_path / "text.de", "Eins.\n")
    sources.check_files(corpus, LANGUAGES, ["en-de"])


def test_files_of_a_hub_dataset_in_a_folder(tmp_path):
    for name in ("en/data/a.parquet", "de/b.jsonl", "tr/c.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True)
        write(tmp_path / name, "")
    source = {"kind": "hub", "dataset": "{language}", "split": "dev", "fields": "text"}
    assert sources.files(source, tmp_path, LANGUAGES, "en-de") == [
        tmp_path / "de/b.jsonl",
        tmp_path / "en/data/a.parquet",
    ]
    assert (
        sources.files(source | {"dataset": "somebody/unknown", "fields": "{language}"}, tmp_path, LANGUAGES, "en-de")
        == []
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (tsv("x/{source}.tsv"), "tsv:en.tsv"),
        (lines("x/text.{language}"), "lines:text.en,text.de"),
        ({"kind": "demo"}, "demo"),
        ({"kind": "hub", "dataset": "a/b", "split": "dev", "revision": "v2"}, "hub:a/b@v2:dev"),
    ],
)
def test_origin_is_a_short_label(source, expected):
    assert sources.origin(source, LANGUAGES, "en-de") == expected


@pytest.mark.parametrize("pairs", [["en-de", "en-zh"], ["en-de", "de-en", "zh-de"]])
def test_file_for_two_pairs_of_other_languages_is_refused(tmp_path, pairs):
    write(tmp_path / "a.tsv", "One.\tEins.\n")
    corpus = {"folder": str(tmp_path), "train": {"source": tsv("a.tsv", first="de" if len(pairs) == 3 else "en")}}
    corpus |= {"valid": {"source": None}, "test": {"source": None}}
    message = (
        rf"corpus\.train\.source\.path: expected a file for each pair, found .*a\.tsv for both en-de and {pairs[-1]}"
    )
    with pytest.raises(InputError, match=message):
        sources.check_files(corpus, LANGUAGES, pairs)
    sources.check_files(corpus, LANGUAGES, pairs[:-1])


def test_folder_without_permission_is_named(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", closed)
    corpus = {"folder": str(tmp_path), "train": {"source": tsv()}, "valid": {"source": None}, "test": {"source": None}}
    with pytest.raises(InputError, match=r"corpus\.train\.source\.path: .*cannot be reached: Permission denied"):
        sources.check_files(corpus, LANGUAGES, ["en-de"])


def _check(folder):
    corpus = {"folder": str(folder), "train": {"source": tsv()}, "valid": {"source": None}, "test": {"source": None}}
    sources.check_files(corpus, LANGUAGES, ["en-de"])


def test_path_that_is_not_a_file_is_refused(tmp_path):
    path = tmp_path / "a.tsv"
    path.mkdir()
    with pytest.raises(InputError, match=r"corpus\.train\.source\.path: expected a file, found the folder .*a\.tsv"):
        _check(tmp_path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"corpus\.train\.source\.path: expected a file, found a pipe.* .*a\.tsv"):
        _check(tmp_path)
    path.unlink()
    for target in ("gone.tsv", "a.tsv"):
        path.symlink_to(target)
        with pytest.raises(
            InputError, match=rf"expected a file, found a link to {target}, which does not exist, .*a\.tsv"
        ):
            _check(tmp_path)
        path.unlink()


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a.tsv", "One.\tEins.\n")
    _check(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path).name, mode) != ("a.tsv", os.R_OK))
    with pytest.raises(InputError, match=r"corpus\.train\.source\.path: .*a\.tsv .* cannot be read: permission denied"):
        _check(tmp_path)


@pytest.mark.parametrize("form", ["tsv", "jsonl", "lines"])
def test_compressed_files_are_read_and_other_encodings_refused(tmp_path, form):
    source = {"tsv": tsv(), "jsonl": jsonl(), "lines": lines()}[form]
    texts = {
        "a.tsv": "One.\tEins.\n",
        "a.jsonl": '{"translation": {"en": "One.", "de": "Eins."}}\n',
        "text.en": "One.\n",
        "text.de": "Eins.\n",
    }
    for name, text in texts.items():
        write(tmp_path / name, gzip.compress(text.encode()))
    assert read(source, tmp_path) == ROWS[:1]
    for name, text in texts.items():
        write(tmp_path / name, text.encode("utf-16-be"))
    with pytest.raises(InputError, match="looks like UTF-16BE"):
        read(source, tmp_path)


@pytest.mark.parametrize("source", [tsv(codes="long"), lines(codes="long")])
def test_header_with_the_codes_of_the_source_is_refused(tmp_path, source):
    languages = {"en": {"codes": {"long": "eng"}}, "de": {"codes": {"long": "deu"}}}
    write(tmp_path / "a.tsv", "eng\tdeu\nOne.\tEins.\n")
    write(tmp_path / "text.eng", "eng\nOne.\n")
    write(tmp_path / "text.deu", "deu\nEins.\n")
    with pytest.raises(InputError, match=r"line 1: .* found the header eng / deu"):
        sources.read(source, tmp_path, languages, "en-de")


@pytest.mark.parametrize("key", ["config", "fields"])
def test_unknown_placeholders_are_refused_without_reading(key):
    source = {"kind": "hub", "dataset": "{language}", "split": "dev", "fields": "text"} | {key: "{foo}"}
    with pytest.raises(InputError, match=rf"`{key}: {{foo}}` holds {{foo}}"):
        sources.files(source, ".", LANGUAGES, "en-de")


def test_origin_of_two_datasets_has_both_names():
    source = {"kind": "hub", "dataset": "a/{language}", "split": "dev"}
    assert sources.origin(source, LANGUAGES, "en-de") == "hub:a/en,a/de:dev"
