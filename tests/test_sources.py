"""Run with: pytest tests/test_sources.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import skipclm
from skipclm import sources
from skipclm.errors import InputError

LANGUAGES = {"en": {}, "de": {}, "zh": {}}
ROWS = [("One.", "Eins."), ("Two.", "Zwei.")]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(source, folder, pair="en-de"):
    return sources.read(source, folder, LANGUAGES, pair)


def tsv(path="a.tsv", **keys):
    return {"kind": "tsv", "path": path, **keys}


def lines(path="text.{language}", **keys):
    return {"kind": "lines", "path": path, **keys}


def jsonl(fields="translation.{language}", **keys):
    return {"kind": "jsonl", "path": "a.jsonl", "fields": fields, **keys}


# Lines


def test_only_newlines_end_a_line(tmp_path):
    text = "\ufeffa\u2028b\x85c\x0bd\x0ce\r\n\r\nlast\rline"
    assert sources.read_lines(write(tmp_path / "a", text)) == ["a\u2028b\x85c\x0bd\x0ce", "", "last\rline"]


@pytest.mark.parametrize(("text", "expected"), [("", []), ("a", ["a"]), ("a\n", ["a"]), ("\n\n", ["", ""])])
def test_the_last_newline_begins_no_line(tmp_path, text, expected):
    assert sources.read_lines(write(tmp_path / "a", text)) == expected


def test_invalid_utf8_is_named_by_file_and_line(tmp_path):
    path = write(tmp_path / "latin1.txt", b"\xef\xbb\xbfgut\n\nsch\xf6n\n")
    with pytest.raises(InputError, match=r"latin1\.txt, line 3: expected UTF-8, found the byte 0xf6"):
        sources.read_lines(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt cannot be read: No such file"):
        sources.read_lines(tmp_path / "gone.txt")


# Tab-separated files


@pytest.mark.parametrize(
    ("pair", "keys", "expected"),
    [
        ("en-de", {}, ROWS),
        ("en-de", {"first": "en"}, ROWS),
        ("de-en", {"first": "en"}, [("Eins.", "One."), ("Zwei.", "Two.")]),
        ("de-en", {}, ROWS),  # the first column is taken for the source, here wrongly
    ],
)
def test_first_names_the_language_of_the_first_column(tmp_path, pair, keys, expected):
    write(tmp_path / "a.tsv", "One.\tEins.\r\nTwo.\tZwei.\r\n")
    assert read(tsv(**keys), tmp_path, pair) == expected


def test_first_must_be_of_the_pair(tmp_path):
    with pytest.raises(InputError, match=r"`first` must be a language of the pair en-de, found 'zh'"):
        read(tsv(first="zh"), tmp_path)


@pytest.mark.parametrize(("line", "columns"), [("One. Eins.", 1), ("", 1), ("One.\tEins.\tCC-BY", 3)])
def test_a_tsv_line_must_have_two_columns(tmp_path, line, columns):
    write(tmp_path / "a.tsv", f"Zero.\tNull.\n{line}\n")
    with pytest.raises(InputError, match=rf"a\.tsv, line 2: expected two columns .* found {columns};"):
        read(tsv(), tmp_path)


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
    ("line", "found"),
    [
        ('{"translation": {"en": "Two."}}', r"at `translation\.de`, found nothing"),
        ('{"translation": {"en": "Two.", "de": 2}}', r"at `translation\.de`, found 2"),
        ('{"translation": "Two."}', r"at `translation\.en`, found nothing"),
        ("[]", r"at `translation\.en`, found nothing"),
        ("", "expected one JSON object, found ''"),
    ],
)
def test_jsonl_faults_are_named_by_file_and_line(tmp_path, line, found):
    write(tmp_path / "a.jsonl", '{"translation": {"en": "One.", "de": "Eins."}}\n' + line + "\n")
    with pytest.raises(InputError, match=rf"a\.jsonl, line 2: .*{found}"):
        read(jsonl(), tmp_path)


def test_jsonl_needs_a_field_for_each_language(tmp_path):
    with pytest.raises(InputError, match=r"expected \{language\} in `fields`"):
        read(jsonl("text"), tmp_path)


# Demo


def test_demo_rows_take_the_pair_s_languages(monkeypatch):
    sentences = [{"en": "One.", "de": "Eins.", "tr": "Bir."}, {"en": "Two.", "de": "Zwei.", "tr": "İki."}]
    fake = SimpleNamespace(generate=lambda count, seed: sentences[:count])
    monkeypatch.setattr(skipclm, "demo", fake, raising=False)
    source = {"kind": "demo", "size": 2, "seed": 1}
    assert read(source, ".") == ROWS
    assert sources.files(source, ".", LANGUAGES, "en-de") == []
    with pytest.raises(InputError, match="demo corpus speaks de, en, tr, not zh"):
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


def test_a_hub_dataset_in_a_folder_is_its_files(tmp_path):
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
def test_a_file_of_pairs_belongs_to_two_languages(tmp_path, pairs):
    write(tmp_path / "a.tsv", "One.\tEins.\n")
    corpus = {"folder": str(tmp_path), "train": {"source": tsv("a.tsv", first="de" if len(pairs) == 3 else "en")}}
    corpus |= {"valid": {"source": None}, "test": {"source": None}}
    found = (
        rf"corpus\.train\.source\.path: expected a file for each pair, found .*a\.tsv for both en-de and {pairs[-1]}"
    )
    with pytest.raises(InputError, match=found):
        sources.check_files(corpus, LANGUAGES, pairs)
    sources.check_files(corpus, LANGUAGES, pairs[:-1])


def test_a_folder_that_is_closed_is_named(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", closed)
    corpus = {"folder": str(tmp_path), "train": {"source": tsv()}, "valid": {"source": None}, "test": {"source": None}}
    with pytest.raises(InputError, match=r"corpus\.train\.source\.path: .*cannot be reached: Permission denied"):
        sources.check_files(corpus, LANGUAGES, ["en-de"])


@pytest.mark.parametrize("key", ["config", "fields"])
def test_unknown_placeholders_are_found_without_reading(key):
    source = {"kind": "hub", "dataset": "{language}", "split": "dev", "fields": "text"} | {key: "{foo}"}
    with pytest.raises(InputError, match=rf"`{key}: {{foo}}` holds {{foo}}"):
        sources.files(source, ".", LANGUAGES, "en-de")


def test_origin_of_two_datasets_names_both():
    source = {"kind": "hub", "dataset": "a/{language}", "split": "dev"}
    assert sources.origin(source, LANGUAGES, "en-de") == "hub:a/en,a/de:dev"
