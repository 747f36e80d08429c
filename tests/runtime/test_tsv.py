"""Writing and reading of tables."""

import re

import numpy as np
import pandas as pd
import pytest
from ablations import NAN

from skipclm.errors import InputError
from skipclm.runtime import tsv


def test_tsv_round_trip_is_exact(tmp_path):
    frame = pd.DataFrame({"variant": ["null", 'say "hi"', None], "value": [0.1 + 0.2, NAN, 1e-17], "n": [1, 2, 3]})
    frame["steps"] = pd.array([300, None, 5], dtype="Int64")
    tsv.write(tmp_path / "a.tsv", frame)
    written = (tmp_path / "a.tsv").read_bytes()
    assert written == (b'variant\tvalue\tn\tsteps\nnull\t0.30000000000000004\t1\t300\nsay "hi"\t\t2\t\n\t1e-17\t3\t5\n')
    back = tsv.read(tmp_path / "a.tsv")
    assert back["value"][0] == 0.1 + 0.2
    assert back["variant"].isna().tolist() == [False, False, True]
    tsv.write(tmp_path / "b.tsv", back.astype({"steps": "Int64"}))
    assert (tmp_path / "b.tsv").read_bytes() == written


def test_floats_are_read_back_bit_for_bit(tmp_path):
    numbers = np.random.default_rng(1).random(1000) * 100
    tsv.write(tmp_path / "a.tsv", pd.DataFrame({"value": numbers}))
    assert (tsv.read(tmp_path / "a.tsv")["value"] == numbers).all()


@pytest.mark.parametrize("name", ["08", "1e5", "True", "NA", "null", "nan", "-", "0x10", "inf"])
def test_text_that_looks_like_another_type_stays_text(tmp_path, name):
    frame = pd.DataFrame({"variant": [name], "bleu_signature": [name], "seed": [1]})
    tsv.write(tmp_path / "a.tsv", frame)
    back = tsv.read(tmp_path / "a.tsv")
    assert back["variant"].tolist() == back["bleu_signature"].tolist() == [name]
    assert frame.merge(back, on="variant")["seed_y"].tolist() == [1]
    tsv.write(tmp_path / "b.tsv", back)
    assert (tmp_path / "b.tsv").read_bytes() == (tmp_path / "a.tsv").read_bytes()


def test_empty_text_column_has_only_missing_values(tmp_path):
    tsv.write(tmp_path / "a.tsv", pd.DataFrame({"reason": [None, None], "verdict": [NAN, NAN], "n": [NAN, NAN]}))
    back = tsv.read(tmp_path / "a.tsv")
    assert back.isna().all(axis=None)
    assert back["n"].dtype == float


def test_booleans_are_read_as_booleans(tmp_path):
    tsv.write(tmp_path / "a.tsv", pd.DataFrame({"pair": ["en-de"] * 2, "like_best": [True, False]}))
    assert int(tsv.read(tmp_path / "a.tsv")["like_best"].sum()) == 1
    assert (~tsv.read(tmp_path / "a.tsv")["like_best"]).tolist() == [False, True]


@pytest.mark.parametrize("cell", ["x", "1,5", "True", "1 2"])
def test_text_in_a_column_of_numbers_is_refused(tmp_path, cell):
    (tmp_path / "a.tsv").write_text(f"pair\tmean\nen-de\t1.5\nen-tr\t{cell}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.tsv: expected numbers in the column 'mean', found"):
        tsv.read(tmp_path / "a.tsv")


def test_columns_that_are_not_requested_may_have_any_content(tmp_path):
    (tmp_path / "a.tsv").write_text("s\th:m:s\tmax_rss\trule\n1.5\t0:00:01\tNA\tx\n", encoding="utf-8")
    table = tsv.read(tmp_path / "a.tsv", ["s", "max_rss"])
    assert table["s"].tolist() == [1.5]
    assert table["max_rss"].isna().all()


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb", "a\x85b", "a\u2028b", "a\x0cb"])
def test_cells_that_would_break_the_table_are_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"a.tsv, row 2, column 'note': expected text without tabs and line breaks"):
        tsv.write(tmp_path / "a.tsv", pd.DataFrame({"note": ["fine", text], "n": [1, 2]}))
    with pytest.raises(InputError, match=r"a.tsv, header: expected text without tabs and line breaks"):
        tsv.write(tmp_path / "a.tsv", pd.DataFrame({text: [1]}))
    assert not list(tmp_path.iterdir())


def test_missing_and_empty_files_are_explained(tmp_path):
    (tmp_path / "empty.tsv").touch()
    for name in ("absent.tsv", "empty.tsv"):
        with pytest.raises(InputError, match=f"expected a table with a header in .*{name}"):
            tsv.read(tmp_path / name)


# Sentences

SENTENCES = [
    '"Ja", sagte er.',
    'er sagte "ja" und ging',
    '"',
    "it's 5' long",
    "a, b; c # d",
    '=HYPERLINK("http://a.b","x")',
    "+1 dazu",
    "-",
    "- Nein!",
    "@home",
    "NA",
    "None",
    "null",
    "<NA>",
    "Null und nichtig",
    "\\N \\t",
]


def _by_read_delim(text):
    """Read a table as R's read.delim does: a quoted field ends at a double quote that is not doubled."""
    rows = []
    for line in text.removesuffix("\n").split("\n"):
        fields = re.findall(r'(?:^|\t)("(?:[^"]|"")*"(?=\t|$)|[^\t]*)', line)
        rows.append([field[1:-1].replace('""', '"') if field[:1] == '"' else field for field in fields])
    return rows


def test_default_readers_return_the_same_sentences(tmp_path):
    frame = pd.DataFrame({"line": range(1, len(SENTENCES) + 1), "source": SENTENCES, "full_text": SENTENCES[::-1]})
    tsv.write_sentences(tmp_path / "a.tsv", frame)
    back = pd.read_csv(tmp_path / "a.tsv", sep="\t")
    assert back["line"].tolist() == frame["line"].tolist()
    for name in ("source", "full_text"):
        assert back[name].str.strip().tolist() == frame[name].tolist()
    header, *rows = _by_read_delim((tmp_path / "a.tsv").read_text(encoding="utf-8"))
    assert header == ["line", "source", "full_text"]
    assert [row[1].strip() for row in rows] == SENTENCES
    assert {len(row) for row in rows} == {3}


def test_sentences_that_look_like_formulas_begin_with_a_space(tmp_path):
    tsv.write_sentences(tmp_path / "a.tsv", pd.DataFrame({"source": SENTENCES, "score": -1.5}))
    back = pd.read_csv(tmp_path / "a.tsv", sep="\t")
    assert not back["source"].str.match(r"[=+\-@]").any()
    spaced = {line for line in SENTENCES if line[0] in "=+-@"} | {"NA", "None", "null", "<NA>"}
    assert back["source"].tolist() == [f" {line}" if line in spaced else line for line in SENTENCES]
    assert back["score"].tolist() == [-1.5] * len(SENTENCES)
