"""Configuration of splits, sources, further test sets and reverse pairs."""

from pathlib import Path

import pytest
from configurations import SCHEMA, overlaid, refusal

from skipclm.config import corpus_config, runs, validation
from skipclm.demo import generator


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder of a test; paths of the configuration are relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{kind: tsv, path: '{source}-{target}.tsv'}", ["en-de.tsv"]),
        ("{kind: lines, path: 'text.{language}'}", ["text.en", "text.de"]),
        ("{kind: jsonl, path: text.jsonl, fields: '{language}'}", ["text.jsonl"]),
    ],
)
def test_files_of_all_kinds_of_sources_are_checked(folder, source, names):
    overlay = (
        f"{{pairs: [en-de], corpus: {{folder: data, sources: {{mine: {source}}}, "
        "train: {source: mine}, test: {source: mine}}}"
    )
    (folder / "data").mkdir()
    for name in names:
        assert f"corpus.sources.mine.path: there is no file {Path('data', name)} (for en-de)" in refusal(overlay)
        assert refusal(overlay).endswith("; correct the path, or corpus.folder, which is 'data'")
        (folder / "data" / name).touch()
    config = overlaid(overlay)
    validation.check(config, SCHEMA)
    assert corpus_config.source_files(config, corpus_config.resolve(config)) == [
        str(Path("data", name)) for name in names
    ]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            "corpus: {test: {source: dmo}}",
            "corpus.test.source: expected one of demo, found 'dmo'; define corpus.sources.dmo or write 'demo' "
            "if that is meant",
        ),
        (
            "corpus: {train: {source: null}}",
            "corpus.train.source: expected one of demo, found null; "
            "name one, because only valid and test can be carved from another split",
        ),
        (
            "corpus: {valid: {size: null}}",
            "corpus.valid.size: expected a number of pairs to carve from the training source, found null; "
            "give a number, or name a corpus.valid.source",
        ),
        (
            "corpus: {folder: $NO_SUCH_PLACE, sources: {a: {kind: tsv, path: x}}, test: {source: a}}",
            "corpus.sources.a: corpus.folder: the environment variable NO_SUCH_PLACE in '$NO_SUCH_PLACE' is not set; "
            "set it or write the path out",
        ),
    ],
)
def test_split_must_have_a_source_or_come_from_train(overlay, message):
    assert refusal(overlay) == message


@pytest.mark.parametrize(
    "source", ["{kind: jsonl, path: x, fields: text}", "{kind: hub, dataset: x, split: dev, fields: text}"]
)
def test_sources_need_a_language_placeholder(source):
    message = refusal(f"corpus: {{sources: {{a: {source}}}, test: {{source: a}}}}")
    assert message.startswith("corpus.sources.a: expected {language} in ")


def test_sources_of_splits_are_resolved():
    config = overlaid("corpus: {sources: {flores200: {kind: lines, path: 'x.{language}'}}, test: {source: flores200}}")
    corpus = corpus_config.resolve(config)
    demo_source = {"kind": "demo", "size": 8000, "seed": 1, "name": "demo", "codes": None}
    assert corpus["train"] == {"source": demo_source, "size": None}
    assert corpus["valid"] == {"source": None, "size": 200}
    assert corpus["test"]["source"] == {
        "kind": "lines",
        "path": "x.{language}",
        "name": "flores200",
        "codes": "flores200",  # because the languages have codes of this name
    }
    assert "sources" not in corpus
    assert config["corpus"]["test"]["source"] == "flores200"


def test_built_in_corpus_depends_on_its_resources():
    config = overlaid()
    files = corpus_config.source_files(config, corpus_config.resolve(config))
    assert [Path(path).resolve() for path in files] == sorted(
        path.resolve() for path in generator.resource_folder().glob("*.yaml")
    )


def test_reverse_pairs_and_further_test_sets_do_not_change_the_corpus():
    plain = overlaid()
    more = overlaid(
        "{pairs: [en-de, de-en, en-tr, en-zh, zh-en], corpus: {sources: {new: {kind: demo, size: 50, seed: 9}}, "
        "more_tests: {second: {source: new, size: 20}}}}"
    )
    assert corpus_config.resolve(more) == corpus_config.resolve(plain)
    assert corpus_config.text_pairs(more) == corpus_config.text_pairs(plain) == plain["pairs"]
    assert corpus_config.texts_of(more["pairs"]) == {
        "en-de": "en-de",
        "de-en": "en-de",
        "en-tr": "en-tr",
        "en-zh": "en-zh",
        "zh-en": "en-zh",
    }
    assert runs.test_sets(more) == ["test", "second"]
    second = corpus_config.resolve_test(more, "second")
    assert second["second"] == {
        "size": 20,
        "source": {"kind": "demo", "size": 50, "seed": 9, "name": "new", "codes": None},
    }
    assert second.keys() == {"folder", "seed", "cleaning", "second"}


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("{valid: {source: demo, size: 5}}", "corpus.more_tests: expected none called train, valid, test, found valid"),
        ("{b: {source: demos, size: 5}}", "corpus.more_tests.b.source: expected one of demo, found 'demos'; define"),
        ("{b-c: {source: demo, size: 5}}", "corpus.more_tests"),
        ("{b: {source: demo}}", "corpus.more_tests.b"),
        ("{b: {source: null, size: 5}}", "corpus.more_tests.b.source"),
    ],
)
def test_invalid_further_test_sets_are_refused(tests, message):
    assert message in refusal(f"corpus: {{more_tests: {tests}}}")


def test_files_of_further_test_sets_must_exist():
    overlay = "{kind: tsv, path: gone.tsv}}, more_tests: {b: {source: gone, size: null}}"
    assert "corpus.sources.gone.path: there is no file" in refusal(
        f"{{pairs: [en-de], corpus: {{sources: {{gone: {overlay}}}}}"
    )
