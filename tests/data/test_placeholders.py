"""Placeholders, variables and home folders in paths."""

from pathlib import Path

import pytest

from skipclm.data import placeholders
from skipclm.data.placeholders import View
from skipclm.errors import InputError

LANGUAGES = {
    "en": {"codes": {"flores": "eng_Latn", "tatoeba": "eng"}},
    "de": {"codes": {"tatoeba": "deu"}},
    "zh": {"codes": None},
}


def view(path, folder=".", pair="en-de", **keys):
    """Return the view of a source with this path."""
    return View({"path": path, **keys}, folder, LANGUAGES, pair)


@pytest.mark.parametrize("pair", ["en-de", "de-en"])
def test_one_tsv_file_is_used_in_both_directions(pair):
    source = {"path": "{first}-{second}.tsv", "first": "en", "codes": "tatoeba"}
    assert View(source, "data", LANGUAGES, pair).path() == Path("data/eng-deu.tsv")


def test_variables_and_home_are_expanded(monkeypatch):
    monkeypatch.setenv("CORPORA", "/corpora")
    monkeypatch.setenv("HOME", "/home/me")
    assert view("${CORPORA}/t.{language}", "~/data").paths() == [Path("/corpora/t.en"), Path("/corpora/t.de")]
    assert view("a.tsv", "~/data").path() == Path("/home/me/data/a.tsv")


@pytest.mark.parametrize(("folder", "path"), [("$GONE/x", "a.tsv"), (".", "${GONE}/a.tsv")])
def test_unset_variable_is_named(monkeypatch, folder, path):
    monkeypatch.delenv("GONE", raising=False)
    with pytest.raises(InputError, match=r"environment variable GONE .* is not set"):
        view(path, folder).path()


def test_unknown_home_folder_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"^expected a user with a home folder, found ~nosuchuser in '~nosuchuser/a"):
        view("~nosuchuser/a.txt").path()
    with pytest.raises(InputError, match=r"^corpus\.folder: expected a user with a home folder, found ~nosuchuser in"):
        view("a.txt", "~nosuchuser").path()
    assert view("./~nosuchuser/a.txt", "/data").path() == Path("/data/~nosuchuser/a.txt")
    monkeypatch.setenv("HOME", "/home/me")
    assert view("~/a.txt").path() == Path("/home/me/a.txt")


@pytest.mark.parametrize("name", ["lang", "language"])
def test_unknown_placeholder_is_named_with_the_known_ones(name):
    with pytest.raises(InputError, match=rf"holds \{{{name}\}}; known here: \{{source\}}, "):
        view(f"a.{{{name}}}").path()


@pytest.mark.parametrize(("pair", "key"), [("en-de", r"de\.codes\.flores"), ("en-zh", r"zh\.codes\.flores")])
def test_missing_code_is_named_by_its_key(pair, key):
    with pytest.raises(InputError, match=rf"languages\.{key} is missing"):
        view("{language}.txt", pair=pair, codes="flores").paths()


@pytest.mark.parametrize("pair", ["en-fr", "en-en", "ende"])
def test_pair_must_have_two_configured_languages(pair):
    with pytest.raises(InputError, match=rf"pairs: expected two different languages .* found '{pair}'"):
        placeholders.sides(pair, LANGUAGES)
