"""Atomic writing of files and folders; JSON, lines and records."""

import math
import os

import pytest

from skipclm.errors import InputError
from skipclm.runtime import atomic


class PowerCut(BaseException):
    """An exception that `except Exception` does not catch, like KeyboardInterrupt."""


def names(folder):
    """Return the sorted names of the entries of a folder."""
    return sorted(path.name for path in folder.iterdir())


def break_off(new, error):
    """Write half of a new file, or of a file in a new folder, and raise `error`."""
    with new as temporary:
        half = temporary / "checkpoint" if temporary.is_dir() else temporary
        half.write_text("half of the n")
        raise error


# Files


def test_file_is_written_with_its_folders(tmp_path):
    atomic.write_text(tmp_path / "a/b/c.txt", "fünf\r\n\u2028")
    assert (tmp_path / "a/b/c.txt").read_bytes() == "fünf\r\n\u2028".encode()
    assert names(tmp_path / "a/b") == ["c.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, PowerCut])
@pytest.mark.parametrize("before", [None, "old"])
def test_interrupted_file_leaves_the_old_one(tmp_path, error, before):
    path = tmp_path / "scores.json"
    if before:
        path.write_text(before)
    with pytest.raises(error):
        break_off(atomic.new_file(path), error)
    assert names(tmp_path) == (["scores.json"] if before else [])
    assert not before or path.read_text() == before


def test_file_does_not_exist_before_it_is_complete(tmp_path):
    path = tmp_path / "model.safetensors"
    with atomic.new_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == tmp_path  # a rename is atomic only within a file system
        assert temporary.suffix == ".safetensors"  # writers choose the format by it
    assert path.read_text() == "half"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_and_folders_have_the_usual_permissions(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        atomic.write_text(tmp_path / "a", "")
        with atomic.new_folder(tmp_path / "b") as folder:
            (folder / "deep").mkdir()
            (folder / "deep/weights").touch(0o600)  # the permissions that safetensors sets
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    assert (tmp_path / "b/deep/weights").stat().st_mode & 0o777 == mode
    for folder in ("b", "b/deep"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o777 & ~mask


def test_next_attempt_removes_temporary_folders_of_a_killed_job(tmp_path):
    for name in (".model.abc123", ".model.def456", ".models.abc123"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    with atomic.new_folder(tmp_path / "model"):
        pass
    assert names(tmp_path) == [".models.abc123", "model"]


# JSON and lines


def test_json_is_readable_and_read_back(tmp_path):
    value = {"pair": "en-zh", "text": "你好", "loss": 0.1, "layers": [1, 2], "none": None}
    atomic.write_json(tmp_path / "a.json", value)
    assert atomic.read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert '\n  "text": "你好",\n' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_refuses_nan_and_infinity(tmp_path, number):
    atomic.write_json(tmp_path / "a.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", {"history": [{"loss": number}]})
    assert atomic.read_json(tmp_path / "a.json") == {"loss": 1.0}
    assert names(tmp_path) == ["a.json"]


def test_file_that_is_not_json_is_named(tmp_path):
    (tmp_path / "best.json").write_text('{"en-de": ')
    with pytest.raises(InputError, match=r"best\.json: expected JSON, found Expecting value.*; make the file again"):
        atomic.read_json(tmp_path / "best.json")


@pytest.mark.parametrize(
    ("lines", "text"),
    [([], ""), ([""], "\n"), (["a", "", "b\u2028c\x85"], "a\n\nb\u2028c\x85\n")],
)
def test_lines_end_with_newlines_only(tmp_path, lines, text):
    atomic.write_lines(tmp_path / "a.txt", lines)
    assert (tmp_path / "a.txt").read_bytes() == text.encode()


@pytest.mark.parametrize("line", ["a\nb", "a\n", "a\r", "\r\n"])
def test_line_break_within_a_line_is_refused(tmp_path, line):
    with pytest.raises(ValueError, match=r"a\.txt: expected no line break in line 2, found "):
        atomic.write_lines(tmp_path / "a.txt", ["one", line])
    assert names(tmp_path) == []


# Folders


@pytest.mark.parametrize("before", [False, True])
def test_folder_gets_its_name_when_it_is_complete(tmp_path, before):
    path = tmp_path / "deep/model"
    if before:
        path.mkdir(parents=True)
        (path / "old").touch()
    with atomic.new_folder(path) as temporary:
        (temporary / "config.json").touch()
        assert (path / "old").exists() is before
        assert temporary.name.startswith(".")
    assert names(path) == ["config.json"]
    assert names(tmp_path / "deep") == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, PowerCut])
def test_interrupted_folder_leaves_the_old_one(tmp_path, error):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old").touch()
    with pytest.raises(error):
        break_off(atomic.new_folder(tmp_path / "model"), error)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old"]


# Records


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"seed": 1', "expected JSON, found "),
        ("[" * 100_000, "expected JSON, found "),
        ("[1]", "expected a JSON object, found another value; make the file again"),
        ('{"metrics": {}}', "expected a record that this version can read, found no seed of type int; "),
        ('{"seed": 1, "metrics": null}', "expected a record that this version can read, found no metrics of"),
    ],
)
def test_unreadable_record_is_named(tmp_path, text, message):
    path = tmp_path / "record.json"
    path.write_text('{"seed": 1, "metrics": {}, "more": 2}')
    assert atomic.read_record(path, seed=int, metrics=dict) == {"seed": 1, "metrics": {}, "more": 2}
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        atomic.read_record(path, seed=int, metrics=dict)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),  # FIPS 180-2, appendix B
    ],
)
def test_sha256_matches_the_standard(tmp_path, content, digest):
    (tmp_path / "a").write_bytes(content)
    assert atomic.sha256(tmp_path / "a") == digest
