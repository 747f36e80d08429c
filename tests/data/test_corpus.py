"""Corpora: cleaning, groups, splits, further test sets, warnings."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

from skipclm.data import corpus as corpora
from skipclm.data.corpus import SPLITS, Part, clean, group_rows, split_corpus
from skipclm.data.text_files import read_lines
from skipclm.demo import generator
from skipclm.errors import InputError
from skipclm.runtime import tsv
from skipclm.text import tidy

LANGUAGES = {
    name: {"name": name, "bleu_tokenizer": tokenizer}
    for name, tokenizer in {"en": "13a", "de": "13a", "tr": "none", "zh": "zh"}.items()
}
NOUNS = {"en": "sentence", "de": "Straßenbahn", "tr": "cümleyi söyledi", "zh": "句子"}
TSV = {"kind": "tsv", "path": "{source}-{target}.tsv"}
LINES = {"kind": "lines", "path": "{language}.txt"}


def config(folder, train=None, valid=None, test=None, **keys):
    """Return a section `corpus`; each split is given as (size, source)."""
    splits = {"train": train or (None, TSV), "valid": valid or (2, None), "test": test or (2, None)}
    return {
        "folder": str(folder),
        "seed": 1,
        "cleaning": {"max_bytes": 60, "max_ratio": 4.0},
        "largest_group": 50,
        **{split: {"size": size, "source": source} for split, (size, source) in splits.items()},
        **keys,
    }


def write_tsv(folder, pair, rows):
    """Write the rows of a pair to a tab-separated file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{source}\t{target}\n" for source, target in rows)
    (folder / f"{pair}.tsv").write_text(text, encoding="utf-8")


def numbered(count, *languages):
    """Return `count` rows of different sentences, one per language."""
    return [
        tuple(f"{language} {NOUNS.get(language, 'sentence')} {number}" for language in languages)
        for number in range(count)
    ]


def build(folder, corpus, pairs):
    """Build a corpus; return its rows by (split, pair) and the rows of its summary by (pair, split)."""
    out = folder / "out"
    corpora.build_corpus(corpus, LANGUAGES, pairs, out)
    header, *table = [line.split("\t") for line in read_lines(out / "summary.tsv")]
    summary = {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in table}
    rows = {}
    for pair, split in summary:
        texts = [read_lines(out / pair / f"{split}.{language}") for language in pair.split("-")]
        rows[split, pair] = list(zip(*texts, strict=True))
    return rows, summary


def sentences(rows, split):
    """Return all (language, text) of one split, over all pairs."""
    return {
        key
        for (name, pair), part in rows.items()
        for row in part
        for key in zip(pair.split("-"), row, strict=True)
        if name == split
    }


def counts(summary, pair, split):
    """Return the numbers of pairs read, dropped and used."""
    return {name: int(summary[pair, split][name]) for name in ("read", *corpora.DROPS, "pairs")}


# Cleaning


@pytest.mark.parametrize(
    ("raw", "tidy"),
    [
        (" a  b\t\u00a0\u3000c ", "a b c"),
        ("a\u2028b\u2029c\x85d\x0be\x0cf\rg\nh\x1ci", "a b c d e f g h i"),
        ("a\x00b\x07c\x7fd\x9fe", "a b c d e"),
        ("u\u0308ber", "über"),
        ("half \ud83d a pair", "half a pair"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # the joiner is part of the spelling
    ],
)
def test_sentence_becomes_one_composed_line(raw, tidy):
    assert clean([(raw, "x" * 6)], 100, 100) == ([(tidy, "x" * 6)], Counter())


def test_faulty_rows_are_dropped_and_counted():
    rows = [
        ("Hi.", "嗨。"),  # 3 and 6 bytes
        ("", "Leer."),
        ("\x85 ", "Leer."),
        ("a" * 30, "b" * 20),
        ("a" * 31, "b" * 20),
        ("早" * 10, "b" * 20),
        ("早" * 11, "b" * 20),
        ("abcde", "c" * 20),
        ("abcde", "c" * 21),
        ("c" * 21, "abcde"),
        ("Hi. ", "嗨。"),
        ("Hi.", "你好"),
    ]
    cleaned, dropped = clean(rows, max_bytes=30, max_ratio=4.0)
    assert cleaned == [rows[number] for number in (0, 3, 5, 7, 11)]
    assert dropped == {"blank": 2, "long": 2, "ratio": 2, "duplicate": 1}


# Invisible characters

MARKS = ["\ufeff{}", "{}\ufeff", "{}\u200b", "\u00ad{}", "\u2060{}", "{}\u200f", "{}\ufe0f", "\u3164{}"]


def marked(mark, *languages):
    """Return ten rows with an invisible character in each sentence."""
    return [tuple(mark.format(text) for text in row) for row in numbered(10, *languages)]


@pytest.mark.parametrize("mark", MARKS)
def test_rows_that_differ_by_invisible_characters_are_duplicates(mark):
    rows = [*numbered(3, "en", "de"), *marked(mark, "en", "de")]
    cleaned, dropped = clean(rows, 100, 4.0)
    assert len(cleaned) == 10
    assert dropped == {"duplicate": 3}
    assert cleaned[:3] == rows[:3]


@pytest.mark.parametrize("mark", MARKS)
def test_train_loses_test_sentences_with_an_invisible_character(mark):
    test = marked(mark, "en", "other")
    parts = {"train": {"en-de": Part("", numbered(30, "en", "de"))}, "test": {"en-de": Part("", test)}}
    result = split_corpus(parts, {"train": None, "valid": 5, "test": None}, seed=1, largest_group=50)
    assert result["test"]["en-de"].rows == test
    assert {text for text, _ in result["train"]["en-de"].rows}.isdisjoint(text for text, _ in numbered(10, "en", "de"))
    assert [len(result[split]["en-de"].rows) for split in ("train", "valid")] == [15, 5]


def test_rows_that_differ_by_an_invisible_character_are_one_group():
    parts = {"en-de": Part("", [("a", "A"), ("a\u200b", "B"), ("b", "C\u00ad")]), "en-tr": Part("", [("b\ufe0f", "x")])}
    assert {name: len(rows) for name, rows in group_rows(parts).items()} == {("de", "A"): 2, ("de", "C"): 2}


def test_invisible_characters_do_not_change_which_rows_are_drawn():
    sizes = {"train": None, "valid": 5, "test": 8}
    drawn = [
        split_corpus({"train": {"en-de": Part("", rows)}}, sizes, seed=1, largest_group=50)
        for rows in (
            numbered(30, "en", "de"),
            [(f"{source}\u200b", target) for source, target in numbered(30, "en", "de")],
        )
    ]
    for split in SPLITS:
        plain, with_mark = ([row[1] for row in result[split]["en-de"].rows] for result in drawn)
        assert plain == with_mark


# Further test sets


def test_further_test_set_loses_lines_of_train_and_valid(tmp_path):
    corpus = config(tmp_path)
    write_tsv(tmp_path, "en-de", numbered(20, "en", "de"))
    rows, _ = build(tmp_path, corpus, ["en-de"])
    (train,), (valid,), test = rows["train", "en-de"][:1], rows["valid", "en-de"][:1], rows["test", "en-de"]
    new = [
        (train[0], "Neuer Satz."),
        ("New sentence.", valid[1]),
        test[0],
        ("", "leer"),
        ("a", "b" * 99),
        ("c", "d"),
        ("a", "b" * 99),
    ]
    write_tsv(tmp_path / "more", "en-de", new)
    more = {key: corpus[key] for key in ("folder", "seed", "cleaning")}
    more["second"] = {"size": None, "source": TSV | {"path": "more/{source}-{target}.tsv"}}
    out = tmp_path / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    corpora.add_test(more, "second", LANGUAGES, ["en-de"], out)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    written = [read_lines(out / f"en-de/second.{language}") for language in ("en", "de")]
    assert list(zip(*written, strict=True)) == [test[0], ("a", "b" * 99), ("c", "d"), ("a", "b" * 99)]
    header, row = [line.split("\t") for line in read_lines(out / "summary.second.tsv")]
    summary = dict(zip(header, row, strict=True))
    assert [summary[name] for name in ("split", "read", "blank", "duplicate", "overlap", "pairs")] == [
        *("second", "7", "1", "0", "2", "4")
    ]
    more["second"]["size"] = 4
    with pytest.raises(
        InputError, match=r"corpus\.more_tests\.second\.size: expected at least 4 pairs of en-de, found 2"
    ):
        corpora.add_test(more, "second", LANGUAGES, ["en-de"], out)


@pytest.mark.parametrize("mark", MARKS)
def test_further_test_set_loses_seen_sentences_with_an_invisible_character(tmp_path, mark):
    corpus = config(tmp_path)
    write_tsv(tmp_path, "en-de", numbered(20, "en", "de"))
    build(tmp_path, corpus, ["en-de"])
    write_tsv(tmp_path / "more", "en-de", [*marked(mark, "en", "other"), ("new", "neu")])
    more = {key: corpus[key] for key in ("folder", "seed", "cleaning")}
    more["second"] = {"size": None, "source": TSV | {"path": "more/{source}-{target}.tsv"}}
    corpora.add_test(more, "second", LANGUAGES, ["en-de"], tmp_path / "out")
    seen = {line for split in ("train", "valid") for line in read_lines(tmp_path / f"out/en-de/{split}.en")}
    unseen = [tidy(mark.format(text)) for text, _ in numbered(10, "en", "de") if text not in seen]
    assert read_lines(tmp_path / "out/en-de/second.en") == [*unseen, "new"]


# Groups


def test_rows_that_share_a_sentence_are_one_group():
    parts = {
        "en-de": Part("", [("a", "A"), ("b", "A"), ("c", "C"), ("d", "D")]),
        "en-tr": Part("", [("b", "x"), ("e", "y"), ("D", "c")]),
        "tr-de": Part("", [("y", "C")]),
    }
    assert group_rows(parts) == {
        ("de", "A"): [("en-de", ("a", "A")), ("en-de", ("b", "A")), ("en-tr", ("b", "x"))],
        ("de", "C"): [("en-de", ("c", "C")), ("en-tr", ("e", "y")), ("tr-de", ("y", "C"))],
        ("de", "D"): [("en-de", ("d", "D"))],  # the same word in another language is another sentence
        ("en", "D"): [("en-tr", ("D", "c"))],
    }


def test_long_chain_is_one_group():
    rows = [(f"{number:06}", f"{number + step:06}") for number in range(20000) for step in (0, 1)]
    assert list(group_rows({"en-de": Part("", rows)})) == [("de", "000000")]


# Whole test sets

OFFICIAL = [
    ("One.", "Eins."),
    ("One.", "Eins."),
    ("Yes", "J" * 99),
    ("\ufeffTwo  words.", "Zwei\u00a0W\u00f6rter."),
    ("", "leer"),
    ("none", "\u200b"),
    ("en sentence 3", "Drei."),
    ("x" * 80, "lang"),
]
EXPECTED = [OFFICIAL[0], OFFICIAL[1], OFFICIAL[2], ("Two words.", "Zwei Wörter."), *OFFICIAL[6:]]


@pytest.mark.parametrize("size", [None, 3])
def test_set_without_a_size_stays_complete(tmp_path, size):
    write_tsv(tmp_path, "en-de", numbered(20, "en", "de"))
    write_tsv(tmp_path / "own", "en-de", OFFICIAL)
    source = TSV | {"path": "own/en-de.tsv"}
    rows, summary = build(tmp_path, config(tmp_path, test=(size, source)), ["en-de"])
    numbers = counts(summary, "en-de", "test")
    assert numbers["read"] == len(OFFICIAL) == sum(numbers[name] for name in (*corpora.DROPS, "pairs"))
    if size is None:
        assert rows["test", "en-de"] == EXPECTED
        assert {name: count for name, count in numbers.items() if count} == {"read": 8, "blank": 2, "pairs": 6}
        assert counts(summary, "en-de", "train")["overlap"] == 1
        assert not sentences(rows, "test") & (sentences(rows, "valid") | sentences(rows, "train"))
    else:
        assert (numbers["long"], numbers["duplicate"], numbers["pairs"]) == (2, 1, 3)


def test_validation_text_and_training_text_are_cleaned_without_a_size(tmp_path):
    write_tsv(tmp_path, "en-de", [*numbered(20, "en", "de"), *OFFICIAL])
    write_tsv(tmp_path / "own", "en-de", OFFICIAL)
    rows, summary = build(tmp_path, config(tmp_path, valid=(None, TSV | {"path": "own/en-de.tsv"})), ["en-de"])
    assert counts(summary, "en-de", "valid")["duplicate"] == 1
    assert len(rows["valid", "en-de"]) == len(set(rows["valid", "en-de"]))


# Non-text


def test_warnings_are_in_the_summary_and_the_log(tmp_path, capsys):
    odd = [("Tom &amp; Anna", "Tom und Anna"), ("One.", "<b>Eins.</b>")]
    write_tsv(tmp_path, "en-de", [*numbered(20, "en", "de"), *odd])
    write_tsv(tmp_path / "own", "en-de", [("Two.", "Zwei."), ("Three.", "Gr\u00c3\u00bc\u00c3\u009fe.")])
    _, summary = build(tmp_path, config(tmp_path, test=(None, TSV | {"path": "own/en-de.tsv"})), ["en-de"])
    printed = capsys.readouterr().out.splitlines()
    warnings = {split: summary["en-de", split]["warnings"] for split in SPLITS}
    assert warnings["valid"] == ""
    first, second = warnings["train"].split("; de: ")
    assert first.startswith("en: 1 of 22 sentences hold HTML entities")
    assert second.startswith("1 of 22 sentences hold tags")
    assert warnings["test"].startswith("de: 1 of 2 sentences are UTF-8 that was read as")
    assert [line.split(": ")[:3] for line in printed] == [
        ["warning", "en-de train", "en"],
        ["warning", "en-de train", "de"],
        ["warning", "en-de test", "de"],
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("English", "German")], r"corpus\.train\.source: .*en-de\.tsv, line 1: .* found the header English / German"),
        ([("<seg>a</seg>", "b")] * 30, r"corpus\.train\.source: en of en-de: expected sentences, found tags"),
    ],
)
def test_header_and_markup_are_refused(tmp_path, rows, message):
    write_tsv(tmp_path, "en-de", [*rows, *numbered(20, "en", "de")])
    with pytest.raises(InputError, match=message):
        build(tmp_path, config(tmp_path), ["en-de"])


# Splitting


def random_parts(rng, pairs, count):
    """Return rows with few different sentences, so that groups of many sizes form."""
    return {
        pair: Part("", list({(f"s{rng.randrange(count)}", f"t{rng.randrange(count)}"): 0 for _ in range(count)}))
        for pair in pairs
    }


@pytest.mark.parametrize("carved", [("test", "valid"), ("test",), ("valid",), ()])
@pytest.mark.parametrize("seed", range(5))
def test_no_sentence_is_in_two_splits_and_all_rows_are_counted(carved, seed):
    rng, pairs = random.Random(seed), ["en-de", "en-tr", "de-en"]
    parts = {split: random_parts(rng, pairs, 300) for split in SPLITS if split not in carved}
    sizes = {"train": 40, "valid": 10, "test": 20}
    result = split_corpus(parts, sizes, seed, largest_group=30)
    rows = {(split, pair): result[split][pair].rows for split in SPLITS for pair in pairs}
    assert {key: len(part) for key, part in rows.items()} == {key: sizes[key[0]] for key in rows}
    for first, second in combinations(SPLITS, 2):
        assert not sentences(rows, first) & sentences(rows, second)
    for pair in pairs:
        read = sum(len(part[pair].rows) for part in parts.values())
        assert read == sum(len(part[pair].rows) + part[pair].counts.total() for part in result.values())


def test_large_groups_stay_in_train():
    hub = [("Hi.", f"Hallo {number}") for number in range(6)]
    pool = {"en-de": Part("", [*hub, *numbered(9, "en", "de")])}
    for seed in range(5):
        result = split_corpus({"train": pool}, {"train": None, "valid": 4, "test": 5}, seed, largest_group=5)
        assert sorted(result["train"]["en-de"].rows) == sorted(hub)


def test_surplus_rows_of_a_group_are_dropped():
    groups = [(f"en {number}", f"de {number} {version}") for number in range(10) for version in range(3)]
    result = split_corpus(
        {"train": {"en-de": Part("", groups)}},
        {"train": None, "valid": 3, "test": 4},
        seed=1,
        largest_group=50,
    )
    sizes = {split: (len(part["en-de"].rows), part["en-de"].counts["surplus"]) for split, part in result.items()}
    assert sizes == {"test": (4, 2), "valid": (3, 0), "train": (21, 0)}


def test_unused_groups_of_a_pair_stay_in_train():
    parts = {"en-de": Part("", numbered(10, "en", "de")), "zh-tr": Part("", numbered(1000, "zh", "tr"))}
    result = split_corpus({"train": parts}, {"train": None, "valid": 1, "test": 8}, seed=1, largest_group=50)
    assert [len(result["train"][pair].rows) for pair in parts] == [1, 991]


def test_aligned_pairs_have_the_same_held_out_sentences():
    parts = {pair: Part("", numbered(50, *pair.split("-"))) for pair in ("en-de", "en-tr", "en-zh")}
    result = split_corpus({"train": parts}, {"train": 20, "valid": 10, "test": 15}, seed=1, largest_group=50)
    for split, size in {"train": 20, "valid": 10, "test": 15}.items():
        english = [{row[0] for row in part.rows} for part in result[split].values()]
        assert english[0] == english[1] == english[2]
        assert len(english[0]) == size


def test_overlap_is_dropped_from_the_later_split():
    parts = {
        "test": {"en-de": Part("", [("a", "A"), ("b", "B")]), "en-tr": Part("", [("x", "X")])},
        "valid": {"en-de": Part("", [("a", "Z"), ("c", "C")]), "en-tr": Part("", [("b", "Y"), ("d", "D")])},
        "train": {
            "en-de": Part("", [("e", "B"), ("d", "E"), ("f", "F"), ("x", "G")]),
            "en-tr": Part("", [("c", "H"), ("D", "A"), ("g", "D")]),
        },
    }
    result = split_corpus(parts, dict.fromkeys(SPLITS), seed=1, largest_group=50)
    rows = {(split, pair): part.rows for split, by_pair in result.items() for pair, part in by_pair.items()}
    assert rows == {
        ("test", "en-de"): [("a", "A"), ("b", "B")],
        ("test", "en-tr"): [("x", "X")],
        ("valid", "en-de"): [("c", "C")],
        ("valid", "en-tr"): [("d", "D")],
        ("train", "en-de"): [("f", "F")],
        ("train", "en-tr"): [("D", "A")],
    }
    overlap = {key: result[key[0]][key[1]].counts["overlap"] for key in rows}
    assert list(overlap.values()) == [3, 2, 1, 1, 0, 0]


def test_split_with_its_own_source_keeps_its_order_but_train_does_not():
    parts = {split: {"en-de": Part("", numbered(60, f"en {split}", f"de {split}"))} for split in SPLITS}
    result = split_corpus(parts, {"train": 50, "valid": None, "test": 20}, seed=1, largest_group=50)
    rows = {split: result[split]["en-de"].rows for split in SPLITS}
    assert rows["valid"] == parts["valid"]["en-de"].rows
    order = [parts["test"]["en-de"].rows.index(row) for row in rows["test"]]
    assert order == sorted(order) != list(range(20))
    order = [parts["train"]["en-de"].rows.index(row) for row in rows["train"]]
    assert sorted(order) != order
    assert len(set(order)) == 50


def test_split_depends_only_on_seed_and_text():
    rows, sizes = numbered(200, "en", "de"), {"train": None, "valid": 20, "test": 40}

    def split(rows, seed):
        return split_corpus({"train": {"en-de": Part("", rows)}}, sizes, seed, largest_group=50)

    assert split(rows, 1) == split(rows[::-1], 1)
    assert split(rows, 1) != split(rows, 2)
    # A new sentence changes at most one row. A new shuffle would change nearly all.
    more = split([*rows, ("a new one", "ein neuer")], 1)
    assert len(set(more["test"]["en-de"].rows) - set(split(rows, 1)["test"]["en-de"].rows)) <= 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (None, 3, 11),
            r"corpus\.test\.size: expected at least 11 .*en-de .*found 10 \(.*; 3 more .* over 2 pairs",
        ),
        (
            (None, 3, 8),
            r"corpus\.valid\.size: expected at least 3 .* found 2 .*lower corpus\.valid\.size or corp",
        ),
        (
            (4, 5, 5),
            r"corpus\.train\.size: expected at least 4 pairs of en-de, found 3 \(13 read\); lower corpus\.tr",
        ),
    ],
)
def test_too_few_pairs_are_counted(sizes, message):
    rows = [*numbered(10, "en", "de"), *(("Hi.", f"Hallo {number}") for number in range(3))]
    parts = {"train": {"en-de": Part("", rows, Counter(read=13))}}
    with pytest.raises(InputError, match=message):
        split_corpus(parts, dict(zip(SPLITS, sizes, strict=True)), seed=1, largest_group=2)


# Complete corpora


def test_carved_corpus_on_disk(tmp_path):
    for pair, extra in {
        "en-de": [("", "leer"), ("a" * 61, "b" * 50), ("kurz", "c" * 17), numbered(2, "en", "de")[1]],
        "en-zh": [("Hi.", " "), ("Hi.", "你好。")],
    }.items():
        write_tsv(tmp_path, pair, numbered(12, *pair.split("-")) + extra)
    rows, summary = build(tmp_path, config(tmp_path, train=(5, TSV)), ["en-de", "en-zh"])

    for first, second in combinations(SPLITS, 2):
        assert not sentences(rows, first) & sentences(rows, second)
    nothing = dict.fromkeys(("read", *corpora.DROPS, "pairs"), 0)
    assert counts(summary, "en-de", "train") == nothing | {
        **{"read": 16, "blank": 1, "long": 1, "ratio": 1, "duplicate": 1},
        **{"surplus": 3, "pairs": 5},
    }
    assert counts(summary, "en-zh", "train") == nothing | {"read": 14, "blank": 1, "surplus": 4, "pairs": 5}
    for pair in ("en-de", "en-zh"):
        assert counts(summary, pair, "test") == counts(summary, pair, "valid") == nothing | {"pairs": 2}
        total = Counter()
        for split in SPLITS:
            total.update(counts(summary, pair, split))
        assert total["read"] == sum(total[name] for name in (*corpora.DROPS, "pairs"))
    assert summary["en-de", "train"]["origin"] == "tsv:en-de.tsv"
    assert summary["en-de", "test"]["origin"] == "carved from train"


def test_tokens_and_checksums(tmp_path):
    write_tsv(tmp_path, "en-zh", [("Hello, world!", "你好，abc 世界！")])
    for name, text in {"en": "One. Two\nThree", "zh": "一。\n二 三"}.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    aligned = (None, LINES)
    (tmp_path / "dev").mkdir()
    write_tsv(tmp_path / "dev", "en-zh", [("A.", "甲。")])
    dev = (1, TSV | {"path": "dev/en-zh.tsv"})
    rows, summary = build(tmp_path, config(tmp_path, valid=dev, test=aligned), ["en-zh"])

    assert rows["test", "en-zh"] == [("One. Two", "一。"), ("Three", "二 三")]
    # 13a: Hello , world ! and One . Two / Three; zh: 你 好 ， abc 世 界 ！ and 一 。 / 二 三
    tokens = {split: [summary["en-zh", split][f"{side}_tokens"] for side in ("source", "target")] for split in SPLITS}
    assert tokens == {"train": ["4", "7"], "valid": ["2", "2"], "test": ["4", "4"]}
    assert summary["en-zh", "test"]["origin"] == "lines:en.txt,zh.txt"
    digest = hashlib.sha256("一。\n二 三\n".encode()).hexdigest()
    assert summary["en-zh", "test"]["target_sha256"] == digest


def test_carved_and_own_splits_mix(tmp_path):
    write_tsv(tmp_path, "en-de", numbered(20, "en", "de"))
    (tmp_path / "en.txt").write_text("en sentence 3\nother\nen sentence 7\n")
    (tmp_path / "de.txt").write_text("drei\nandere\nsieben\n")
    rows, summary = build(tmp_path, config(tmp_path, valid=(5, None), test=(2, LINES)), ["en-de"])
    assert len(rows["test", "en-de"]) == 2
    assert counts(summary, "en-de", "test")["surplus"] == 1
    held = {row[0] for row in rows["test", "en-de"]} & {"en sentence 3", "en sentence 7"}
    assert counts(summary, "en-de", "train")["overlap"] == len(held)
    assert len(rows["train", "en-de"]) == 15 - len(held)
    assert not sentences(rows, "test") & (sentences(rows, "valid") | sentences(rows, "train"))


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("", {}, r"corpus\.train\.source: expected sentence pairs of en-de in tsv:en-de\.tsv.*\(0 read\)"),
        ("\tA\nab\tabcdefghi\n", {}, r"none fit to use \(2 read, 1 blank, 1 ratio\)"),
        ("a\n", {}, r"corpus\.train\.source: .*en-de\.tsv, line 1: expected two columns"),
        (
            "a\tb\n",
            {},
            r"corpus\.test\.size: expected at least 2 pairs of en-de to carve from train, found 1",
        ),
        ("a\tb\n", {"valid": (3, LINES)}, r"corpus\.valid\.source\.path: there is no file .*en\.txt"),
        ("a\tb\nc\td\ne\tf\ng\th\n", {}, r"corpus\.train\.size: expected at least 1 pairs of en-de, found 0"),
    ],
)
def test_error_leaves_no_files(tmp_path, text, keys, message):
    (tmp_path / "en-de.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        corpora.build_corpus(config(tmp_path, **keys), LANGUAGES, ["en-de"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pair", ["en-de", "en-tr", "en-zh", "tr-de", "en-xx"])
def test_swapped_sides_of_known_languages_are_refused(tmp_path, pair):
    source, target = pair.replace("xx", "zh").split("-")
    rows = [(row[source], row[target]) for row in generator.generate(60, 3)]
    keys = {"cleaning": {"max_bytes": 400, "max_ratio": 9.0}}
    write_tsv(tmp_path, pair, rows)
    languages = LANGUAGES | {"xx": LANGUAGES["zh"]}
    corpora.build_corpus(config(tmp_path, **keys), languages, [pair], tmp_path / "out")
    write_tsv(tmp_path, pair, [row[::-1] for row in rows[:45]] + rows[45:])
    if pair == "en-xx":
        corpora.build_corpus(config(tmp_path, **keys), languages, [pair], tmp_path / "other")
        return
    message = rf"corpus\.train\.source: expected {source} first and {target} second, found them swapped in 4\d of 60"
    with pytest.raises(InputError, match=message):
        corpora.build_corpus(config(tmp_path, **keys), languages, [pair], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def _build_sides(folder, first, second, pair="en-de"):
    """Build a corpus of 60 rows; return the warnings. `first` and `second` make the sides from a built-in row."""
    write_tsv(folder, pair, [(first(row), second(row)) for row in generator.generate(60, 3)])
    keys = {"cleaning": {"max_bytes": 400, "max_ratio": 9.0}}
    corpora.build_corpus(config(folder, **keys), LANGUAGES, [pair], folder / "out")
    return tsv.read(folder / "out/summary.tsv").set_index("split")["warnings"].fillna("")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (lambda row: row["en"], lambda row: f"Yes, {row['en']}", "expected de on its side of en-de, found en in"),
        (lambda row: f"Ja, {row['de']}", lambda row: row["de"], "expected en on its side of en-de, found de in"),
        (lambda row: row["en"], lambda row: row["en"].upper(), "found the same text on both sides in 60 of 60"),
    ],
    ids=["the source's language", "the target's language", "the same text"],
)
def test_side_in_the_language_of_the_other_side_is_refused(tmp_path, first, second, message):
    with pytest.raises(InputError, match=rf"corpus\.train\.source: .*{message}"):
        _build_sides(tmp_path, first, second)
    assert not (tmp_path / "out").exists()


def test_side_in_a_third_language_causes_a_warning(tmp_path):
    warnings = _build_sides(tmp_path, lambda row: row["en"], lambda row: row["tr"])
    assert "de: 60 of 60 sentences looked at seem to be in another language" in warnings["train"]


def test_some_sentences_in_another_language_cause_no_warning(tmp_path):
    rows = iter(["en"] * 10 + ["de"] * 50)
    assert set(_build_sides(tmp_path, lambda row: row["en"], lambda row: row[next(rows)])) == {""}


def test_sides_with_only_invisible_characters_are_blank():
    cleaned, dropped = corpora.clean([("a", "\u200b\ufeff"), ("\u200e\u00ad", "b"), ("؟", "。")], 60, 4.0)
    assert cleaned == [("؟", "。")]
    assert dropped == {"blank": 2}


def test_same_seed_writes_the_same_bytes_in_any_process(tmp_path):
    rng = random.Random(0)
    for pair in ("en-de", "en-tr"):
        rows = [(f"a {rng.randrange(300)}", f"b {rng.randrange(300)}") for _ in range(150)]
        write_tsv(tmp_path, pair, rows)
    corpus = config(tmp_path, train=(40, TSV), valid=(10, None), test=(15, None))
    program = "import json, sys; from skipclm.data.corpus import build_corpus; build_corpus(*json.loads(sys.argv[1]))"
    written = []
    for hash_seed in ("0", "1"):
        out = tmp_path / f"out{hash_seed}"
        arguments = json.dumps([corpus, LANGUAGES, ["en-de", "en-tr"], str(out)])
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", program, arguments], check=True, env=environment)
        written.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert len(written[0]) == 13
    assert written[0] == written[1]


def test_file_name_with_a_tab_does_not_break_the_summary(tmp_path):
    part = Part("tsv:a\tb\nc.tsv", [("One.", "Eins.")], Counter(read=1))
    corpora._write(tmp_path, {"test": {"en-de": part}}, "summary.tsv")
    table = tsv.read(tmp_path / "summary.tsv")
    assert table[["origin", "read", "pairs"]].to_dict("records") == [{"origin": "tsv:a b c.tsv", "read": 1, "pairs": 1}]
