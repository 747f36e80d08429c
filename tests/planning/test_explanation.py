"""Explanations of numbers: runs, data, code and machine."""

import shutil

import pytest

from skipclm.errors import InputError
from skipclm.planning import explanation
from skipclm.runtime import atomic, provenance, tsv

ENVIRONMENT = {
    "commit": "abc123",
    "code": "c0de",
    "versions": {"skipclm": None, "torch": "2.0", "python": "3.11"},
    "machine": "Linux x86_64, 2 cores",
    "finished": "2026-01-02T03:04:05+00:00",
}


@pytest.fixture
def results(tmp_path):
    """Results of a variant with two seeds, a diverged one and an untrained one, with all records."""
    folder = tmp_path / "results/mine"
    for variant, seed, value, status in (
        ("full", 2, 20.0, "ok"),
        ("full", 10, 21.0, "ok"),
        ("wild", 2, None, "diverged"),
        ("base", 2, 1.5, "untrained"),
    ):
        run = folder / f"ablation/en-de/{variant}/seed{seed}"
        metrics = {"bleu": {"value": value, "signature": "nrefs:1"}} if value is not None else {}
        metrics |= {"comet": {"value": None, "signature": None, "not_run": "no model"}} if metrics else {}
        score = {"seed": seed, "status": status, "split": "test", "sentences": 500, "metrics": metrics}
        atomic.write_json(run / "test.scores.json", score | ENVIRONMENT)
        atomic.write_json(run / "test.generation.json", {"sha256": f"feed{seed}"} | ENVIRONMENT)
        if variant == "full":
            metrics = {"bleu": {"value": 3.0, "signature": "nrefs:1"}}
            atomic.write_json(run / "devtest.scores.json", score | {"split": "devtest", "metrics": metrics})
            atomic.write_json(run / "devtest.generation.json", {"sha256": "dead"} | ENVIRONMENT)
        if status != "untrained":
            settings = {"skip": {"enabled": True, "source": 2}, "lora": {"enabled": False}}
            facts = {"train_steps": 140, "train_pairs": 7000, "train_seconds": 9.2, "settings": settings}
            atomic.write_json(run / "training.json", facts | ENVIRONMENT)
    left = folder / "ablation/en-de/full/seed1"  # from an earlier configuration
    shutil.copytree(folder / "ablation/en-de/full/seed2", left)
    rows = [("full", 2), ("full", 10), ("wild", 2), ("base", 2)]
    table = [(pair, split, *row) for pair in ("en-de", "de-en") for split in ("test", "devtest") for row in rows]
    columns = ["pair", "split", "variant", "seed"]
    tsv.write(folder / "ablation/scores.tsv", tsv.pd.DataFrame(table, columns=columns))
    tsv.write(
        folder / "corpus/summary.tsv",
        tsv.pd.DataFrame(
            [("en-de", "test", "demo", 500, "aa", "bb"), ("en-tr", "test", "demo", 500, "cc", "dd")],
            columns=["pair", "split", "origin", "pairs", "source_sha256", "target_sha256"],
        ),
    )
    base = {"source": "scratch", "share": {"en": 0.5, "de": None}}
    atomic.write_json(folder / "base" / provenance.RECORD, {"model": base} | ENVIRONMENT)
    return folder


def test_explanation_of_a_mean_has_all_its_sources(results):
    text = explanation.explain(results, "en-de", "full", "bleu")
    assert text.startswith("BLEU of full on en-de, test (500 sentences): 20.5000, the mean over 2 of 2 seeds\n")
    for part in (
        "signature: nrefs:1",
        "seed 2: 20.0000\n  translations: sha256 feed2",
        "seed 10: 21.0000",
        "trained: 140 steps on 7000 pairs in 9 s",
        "commit abc123, code c0de, Linux x86_64, 2 cores",
        "torch 2.0, python 3.11",
        "skip: source 2",
        "lora: off",
        "test: 500 pairs, demo; sha256 of en aa, of de bb",
        "source: scratch",
        "share: en 0.5, de none",
    ):
        assert part in text
    assert "cc" not in text


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"commit": "none (git is not installed)"}, "commit none (git is not installed), code c0de, Linux"),
        (
            {"commit": None, "code": None},
            "commit not recorded, code not recorded, Linux",
        ),  # earlier versions
    ],
)
def test_missing_commit_has_a_reason(results, recorded, expected):
    path = results / "ablation/en-de/full/seed2/test.scores.json"
    atomic.write_json(path, atomic.read_json(path) | recorded)
    assert expected in explanation.explain(results, "en-de", "full", "bleu")


def test_score_on_a_further_test_set_is_explained(results):
    columns = ["pair", "split", "origin", "pairs", "source_sha256", "target_sha256"]
    tsv.write(
        results / "corpus/summary.devtest.tsv",
        tsv.pd.DataFrame([("en-de", "devtest", "flores", 9, "ee", "ff")], columns=columns),
    )
    text = explanation.explain(results, "en-de", "full", "bleu", "devtest")
    assert text.startswith("BLEU of full on en-de, devtest (500 sentences): 3.0000")
    assert "translations: sha256 dead" in text
    assert "devtest: 9 pairs, flores; sha256 of en ee, of de ff" in text


def test_reverse_pair_names_its_text(results):
    shutil.copytree(results / "ablation/en-de", results / "ablation/de-en")
    assert "test: 500 pairs, demo; sha256 of en aa, of de bb" in explanation.explain(results, "de-en", "full", "bleu")


def test_missing_value_has_a_reason(results):
    assert "seed 2: no model" in explanation.explain(results, "en-de", "full", "comet")
    assert "seed 2: diverged" in explanation.explain(results, "en-de", "wild", "bleu")
    path = results / "ablation/en-de/wild/seed2/test.scores.json"
    atomic.write_json(path, atomic.read_json(path) | {"status": "failed", "reason": "out of memory"})
    atomic.write_json(path.with_name("training.json"), {"status": "failed", "settings": {}} | ENVIRONMENT)
    assert "seed 2: failed: out of memory" in explanation.explain(results, "en-de", "wild", "bleu")
    untrained = explanation.explain(results, "en-de", "base", "bleu")
    assert "seed 2: 1.5000" in untrained
    assert "trained:" not in untrained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("en-tr", "full", "bleu"), "expected a pair among en-de in .*, found 'en-tr'"),
        (("en-de", "fulll", "bleu"), "expected a run among base, full, wild in .*; write 'full'"),
        (("en-de", "c1-s1-t2", "bleu"), "expected a pair among none"),
        (("en-de", "full", "bleu", "tset"), "expected a split among test, devtest, found 'tset'; write 'test'"),
        (("en-de", "full", "blue"), "expected a metric among bleu, comet, found 'blue'; write 'bleu'"),
    ],
)
def test_unknown_names_are_refused(results, arguments, message):
    with pytest.raises(InputError, match=message):
        explanation.explain(results, *arguments)
    with pytest.raises(InputError, match=r"expected the results of an experiment, .* found none in .*yours"):
        explanation.explain(results.with_name("yours"), *arguments)


RUN = "ablation/en-de/full/seed2"


@pytest.mark.parametrize(
    "name", [f"{RUN}/test.scores.json", f"{RUN}/test.generation.json", f"{RUN}/training.json", "base/skipclm.json"]
)
@pytest.mark.parametrize("text", ["", '{"seed": 2, ', "[]"])
def test_damaged_record_is_named(results, name, text):
    (results / name).write_text(text)
    with pytest.raises(InputError, match=rf"^{results / name}: expected ") as caught:
        explanation.explain(results, "en-de", "full", "bleu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "column"), [("ablation/scores.tsv", "seed"), ("corpus/summary.tsv", "split")])
def test_damaged_table_is_named(results, name, column):
    table = tsv.read(results / name)
    tsv.write(results / name, table.drop(columns=column))
    with pytest.raises(
        InputError, match=rf"^{results / name}: expected the columns .*, found no {column}; make it again"
    ):
        explanation.explain(results, "en-de", "full", "bleu")
    (results / name).write_bytes(b"\x89PNG\xff\t\n")
    with pytest.raises(InputError, match=rf"^{results / name}: expected a table, found "):
        explanation.explain(results, "en-de", "full", "bleu")


def test_record_with_missing_entries_is_refused(results):
    path = results / RUN / "test.scores.json"
    record = atomic.read_json(path)
    record["metrics"]["bleu"] = {"value": "high", "signature": None}
    atomic.write_json(path, record)
    with pytest.raises(InputError, match=rf"^{results}: expected records that this version can read, "):
        explanation.explain(results, "en-de", "full", "bleu")


@pytest.mark.parametrize("name", ["..", ".", "", "full/seed2", "../en-de/full"])
def test_name_that_is_not_an_entry_of_the_folder_is_refused(results, name):
    with pytest.raises(InputError, match="expected a run among base, full, wild in "):
        explanation.explain(results, "en-de", name, "bleu")
    with pytest.raises(InputError, match="expected a pair among en-de in "):
        explanation.explain(results, name, "full", "bleu")
