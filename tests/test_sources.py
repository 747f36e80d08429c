"""Run with: pytest tests/test_sources.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import skipclm
from skipclm import sources
from skipclm.errors import InputError

LANGUAGES = {
    "en": {"name": "English", "bleu_tokenizer": "13a", "codes": {"flores": "eng_Latn", "tatoeba": "eng"}},
    "de": {"name": "German", "bleu_tokenizer": "13a", "codes": {"tatoeba": "deu"}},
    "zh": {"name": "Chinese", "bleu_tokenizer": "zh", "codes": None},
}
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


@pytest.mark.parametrize("pair", ["en-de", "de-en"])
def test_one_tsv_serves_both_directions(pair):
    source = tsv("{first}-{second}.tsv", first="en", codes="tatoeba")
    assert sources.files(source, "data", LANGUAGES, pair) == [Path("data/eng-deu.tsv")]


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


# Paths and placeholders


def test_the_user_s_variables_and_home_are_expanded(monkeypatch):
    monkeypatch.setenv("CORPORA", "/corpora")
    monkeypatch.setenv("HOME", "/home/me")
    files = sources.files(lines("${CORPORA}/t.{language}"), "~/data", LANGUAGES, "en-de")
    assert files == [Path("/corpora/t.en"), Path("/corpora/t.de")]
    assert sources.files(tsv(), "~/data", LANGUAGES, "en-de") == [Path("/home/me/data/a.tsv")]


@pytest.mark.parametrize(("folder", "path"), [("$GONE/x", "a.tsv"), (".", "${GONE}/a.tsv")])
def test_an_unset_variable_is_named(monkeypatch, folder, path):
    monkeypatch.delenv("GONE", raising=False)
    with pytest.raises(InputError, match=r"environment variable GONE .* is not set"):
        sources.files(tsv(path), folder, LANGUAGES, "en-de")


@pytest.mark.parametrize("name", ["lang", "language"])
def test_an_unknown_placeholder_is_named_beside_the_known(name):
    with pytest.raises(InputError, match=rf"holds \{{{name}\}}; known here: \{{source\}}, "):
        sources.files(tsv(f"a.{{{name}}}"), ".", LANGUAGES, "en-de")


@pytest.mark.parametrize(("pair", "key"), [("en-de", r"de\.codes\.flores"), ("en-zh", r"zh\.codes\.flores")])
def test_a_missing_code_is_named_by_its_key(pair, key):
    with pytest.raises(InputError, match=rf"languages\.{key} is missing"):
        sources.files(lines(codes="flores"), ".", LANGUAGES, pair)


@pytest.mark.parametrize("pair", ["en-fr", "en-en", "ende"])
def test_a_pair_must_join_two_configured_languages(pair):
    with pytest.raises(InputError, match=rf"pairs: expected two different languages .* found '{pair}'"):
        sources.sides(pair, LANGUAGES)


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


# The hub, by way of local folders


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a function that reads data sets from folders below, without a network."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()

    def read_hub(files, pair="en-de", **keys):
        for name, records in files.items():
            write(tmp_path / name, "\n".join(json.dumps(record) for record in records))
        return read({"kind": "hub", "split": "train", **keys}, ".", pair)

    yield read_hub
    datasets.enable_progress_bars()


def texts(*sentences, ids=(1, 2, 3)):
    return [{"id": key, "text": text} for key, text in zip(ids, sentences, strict=False)]


def test_hub_one_dataset_with_nested_fields(hub):
    # Named "json" to show that a folder is not taken for a file format, which would read all folders here.
    records = [{"translation": {"en": en, "de": de}} for en, de in ROWS]
    files = {"json/train.jsonl": records, "more/train.jsonl": records}
    assert hub(files, dataset="json", fields="translation.{language}") == ROWS


def test_hub_one_dataset_of_both_codes(hub, tmp_path):
    card = "---\nconfigs:\n- config_name: de-en\n  data_files: both.jsonl\n---\n"
    write(tmp_path / "opus/README.md", card)
    files = {"opus/both.jsonl": [{"en": en, "de": de} for en, de in ROWS]}
    assert hub(files, dataset="opus", config="{alphabetical}", fields="{language}") == ROWS


def test_hub_two_datasets_joined_by_a_column(hub):
    files = {
        "flores/en/a.jsonl": texts("One.", "Two."),
        "flores/de/a.jsonl": texts("Zwei.", "Eins.", ids=(2, 1)),
    }
    assert hub(files, dataset="flores/{language}", fields="text", join="id") == ROWS


def test_hub_two_configs_row_by_row(hub, tmp_path):
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("en", "de"))
    write(tmp_path / "flores/README.md", f"---\nconfigs:\n{configs}---\n")
    files = {"flores/en.jsonl": texts("One.", "Two."), "flores/de.jsonl": texts("Eins.", "Zwei.")}
    assert hub(files, dataset="flores", config="{language}", fields="text") == ROWS


@pytest.mark.parametrize(
    ("german", "keys", "message"),
    [
        (texts("Eins."), {}, "found 2 in .* and 1 in"),
        (texts("Eins."), {"join": "id"}, "1 rows do, 1 are only in en and 0 only in de"),
        (texts("Eins.", "Zwei.", ids=(1, 1)), {"join": "id"}, "must be unique: de has 2 rows and 1 values"),
        (texts("Eins.", None), {}, "row 2: expected a string at `text`, found nothing"),
        (texts("Eins.", "Zwei."), {"join": "key"}, "expected a field `key`, found id, text"),
    ],
)
def test_hub_two_datasets_must_match(hub, german, keys, message):
    files = {"flores/en/a.jsonl": texts("One.", "Two."), "flores/de/a.jsonl": german}
    with pytest.raises(InputError, match=message):
        hub(files, dataset="flores/{language}", fields="text", **keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "data", "split": "dev"}, r"dataset 'data' \(config None, split 'dev'\)"),
        (
            {"dataset": "somebody/unknown"},
            r"dataset 'somebody/unknown' .*[\s\S]*accept its licence .* log in",
        ),
    ],
)
def test_hub_what_does_not_load_is_one_error(hub, keys, message):
    files = {"data/train.jsonl": [{"en": "One.", "de": "Eins."}]}
    with pytest.raises(InputError, match=message):
        hub(files, fields="{language}", **keys)


def test_hub_needs_a_language_somewhere():
    with pytest.raises(InputError, match=r"expected \{language\} in `dataset` or `config` or `fields`"):
        read({"kind": "hub", "dataset": "x", "fields": "text", "split": "train"}, ".")
