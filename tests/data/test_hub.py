"""Data sets of the hub, read from local folders."""

import json

import pytest

from skipclm.data import sources
from skipclm.errors import InputError

ROWS = [("One.", "Eins."), ("Two.", "Zwei.")]


def write(path, text):
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read(**keys):
    """Return the rows of a hub source for en-de."""
    return sources.read({"kind": "hub", "split": "train", **keys}, ".", {"en": {}, "de": {}}, "en-de")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that writes data sets to `tmp_path` and reads them without a network."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()

    def read_hub(files, **keys):
        for name, records in files.items():
            write(tmp_path / name, "\n".join(json.dumps(record) for record in records))
        return read(**keys)

    yield read_hub
    datasets.enable_progress_bars()


def texts(*sentences, ids=(1, 2, 3)):
    """Return records with an id and a text."""
    return [{"id": key, "text": text} for key, text in zip(ids, sentences, strict=False)]


def test_one_dataset_with_nested_fields(hub):
    # The folder is named "json", like a file format of `datasets`, which would read all folders here.
    records = [{"translation": {"en": en, "de": de}} for en, de in ROWS]
    files = {"json/train.jsonl": records, "more/train.jsonl": records}
    assert hub(files, dataset="json", fields="translation.{language}") == ROWS


@pytest.mark.parametrize("nested", [{}, {"text": {"xx": "Anderes."}}])
def test_column_with_dots_takes_precedence_over_a_path(hub, nested):
    records = [{"text.en": en, "text.de": de} | nested for en, de in ROWS]
    assert hub({"dots/train.jsonl": records}, dataset="dots", fields="text.{language}") == ROWS


def test_config_name_with_both_codes(hub, tmp_path):
    card = "---\nconfigs:\n- config_name: de-en\n  data_files: both.jsonl\n---\n"
    write(tmp_path / "opus/README.md", card)
    files = {"opus/both.jsonl": [{"en": en, "de": de} for en, de in ROWS]}
    assert hub(files, dataset="opus", config="{alphabetical}", fields="{language}") == ROWS


def test_two_datasets_joined_by_a_column(hub):
    files = {
        "flores/en/a.jsonl": texts("One.", "Two."),
        "flores/de/a.jsonl": texts("Zwei.", "Eins.", ids=(2, 1)),
    }
    assert hub(files, dataset="flores/{language}", fields="text", join="id") == ROWS


def test_two_configs_are_paired_row_by_row(hub, tmp_path):
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
def test_two_datasets_must_match(hub, german, keys, message):
    files = {"flores/en/a.jsonl": texts("One.", "Two."), "flores/de/a.jsonl": german}
    with pytest.raises(InputError, match=message):
        hub(files, dataset="flores/{language}", fields="text", **keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"dataset": "data", "split": "dev"},
            r"/data' \(config None, split 'dev'\) does not: .*[\s\S]*Check the names of config and split",
        ),
        (
            {"dataset": "somebody/unknown"},
            r"'somebody/unknown' .* does not: .*[\s\S]*accept its licence .* log in",
        ),
    ],
)
def test_dataset_that_does_not_load_is_one_error(hub, keys, message):
    files = {"data/train.jsonl": [{"en": "One.", "de": "Eins."}]}
    with pytest.raises(InputError, match=message):
        hub(files, fields="{language}", **keys)


def test_source_needs_a_language_placeholder():
    with pytest.raises(InputError, match=r"expected \{language\} in `dataset` or `config` or `fields`"):
        read(dataset="x", fields="text")


def test_text_that_is_not_utf8_is_refused(hub, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes('{"en": "beautiful", "de": "schön"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match=r"expected UTF-8 in `de`, found b'sch\\xf6n'; convert the files"):
        read(dataset="data", fields="{language}")


@pytest.mark.parametrize(("cell", "value"), [("NA", "nothing"), ("null", "nothing"), ("007", "7")])
def test_csv_cell_that_is_not_read_as_text_is_explained(hub, tmp_path, cell, value):
    write(tmp_path / "data/train.csv", f"en,de\none,{cell}\n")
    with pytest.raises(
        InputError, match=rf"row 1: expected a string at `de`, found {value}.*from CSV, words such as NA"
    ):
        read(dataset="data", fields="{language}")
