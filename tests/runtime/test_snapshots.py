"""A snapshot that is torn, broken or of another training is told, and the one before it is used."""

import json
import os

import pytest

from skipclm.runtime import snapshots


@pytest.fixture
def two(tmp_path):
    """Two snapshots of a training, at steps 9 and 10."""
    found = snapshots.Snapshots(tmp_path / "snapshots", "abc")
    for step in (9, 10):
        folder = found.folder / f"checkpoint-{step}"
        (folder / "deep").mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(step) * 100)
        (folder / "deep/state.json").write_text(str(step))
        found.seal(folder)
    return found


def test_the_newest_is_used(two):
    assert two.newest() == two.folder / "checkpoint-10"


def test_there_may_be_none(tmp_path):
    assert snapshots.Snapshots(tmp_path / "none", "abc").newest() is None


def _truncate(folder):
    (folder / "weights").write_bytes(b"x")


def _flip_a_bit(folder):
    data = bytearray((folder / "weights").read_bytes())
    data[50] ^= 1
    (folder / "weights").write_bytes(data)


def _lose_a_file(folder):
    (folder / "deep/state.json").unlink()


def _lose_the_seal(folder):
    (folder / snapshots.SEAL).unlink()


def _break_the_seal(folder):
    (folder / snapshots.SEAL).write_text('{"fingerprint": "abc"')


def _empty_the_seal(folder):
    (folder / snapshots.SEAL).write_text("[]")


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (_truncate, "weights is damaged"),
        (_flip_a_bit, "weights is damaged"),
        (_lose_a_file, "deep/state.json cannot be read: No such file or directory"),
        (_lose_the_seal, "it was not written to the end"),
        (_break_the_seal, "its seal is damaged"),
        (_empty_the_seal, "its seal is damaged"),
    ],
)
def test_a_torn_one_is_told_and_the_one_before_it_used(two, harm, fault, capsys):
    harm(two.folder / "checkpoint-10")
    assert two.newest() == two.folder / "checkpoint-9"
    assert f"checkpoint-10 is not used: {fault}" in capsys.readouterr().out
    assert (two.folder / "checkpoint-10").exists() == (
        fault != "it was not written to the end"
    )  # such a one takes room


def test_those_of_another_training_are_refused(two, capsys):
    other = snapshots.Snapshots(two.folder, "xyz")
    assert other.newest() is None
    assert capsys.readouterr().out.count("is not used: it has other settings, data or code") == 2


def test_they_go_when_the_training_is_done(two):
    two.remove()
    assert not two.folder.exists()
    two.remove()


def test_the_furthest_is_one_that_was_written_to_the_end(two, tmp_path):
    (two.folder / "checkpoint-11").mkdir()
    assert snapshots.furthest(two.folder) == 10
    assert snapshots.furthest(tmp_path / "none") == 0


def test_what_is_not_whole_does_not_push_out_what_is(two):
    for step in (11, 30):
        (two.folder / f"checkpoint-{step}").mkdir()  # of attempts that were killed while they saved
    (two.folder / "checkpoint-12").mkdir()
    two.seal(two.folder / "checkpoint-12")
    assert sorted(path.name for path in two.folder.iterdir()) == ["checkpoint-10", "checkpoint-12"]


@pytest.fixture
def made(tmp_path):
    """Files that a job has made, and the folder in which they are kept."""
    files = [tmp_path / "run" / name for name in ("one.txt", "two.json")]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    kept = tmp_path / "run/snapshots/test"
    snapshots.store(files, kept, "abc")
    for path in files:
        path.unlink()
    return files, kept


def test_what_is_kept_is_put_back(made):
    files, kept = made
    assert snapshots.restore(files, kept, "abc")
    assert [path.read_text() for path in files] == ["one.txt", "two.json"]


def test_what_is_kept_of_something_else_or_torn_is_not(made):
    files, kept = made
    assert not snapshots.restore(files, kept, "xyz")
    (kept / "one.txt").write_text("o")
    assert not snapshots.restore(files, kept, "abc")
    assert not any(path.exists() for path in files)


def test_a_run_is_released_once_it_is_scored_since_it_was_trained(made):
    folder = made[0][0].parent
    for name in ("test.scores.json", "second.scores.json", "training.json"):
        (folder / name).touch()
    os.utime(folder / "second.scores.json", (1, 1))
    snapshots.release(folder, ["test", "second"])
    assert made[1].exists()
    (folder / "second.scores.json").touch()
    snapshots.release(folder, ["test", "second"])
    assert not made[1].exists()


def test_fingerprint_is_of_settings_and_contents(tmp_path):
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_text("text")
    found = snapshots.fingerprint({"seed": 1, "steps": 2}, [tmp_path / "a"])
    assert found == snapshots.fingerprint({"steps": 2, "seed": 1}, [tmp_path / "b"])
    assert found != snapshots.fingerprint({"steps": 3, "seed": 1}, [tmp_path / "a"])
    (tmp_path / "a").write_text("texts")
    assert found != snapshots.fingerprint({"steps": 2, "seed": 1}, [tmp_path / "a"])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("keep_weights", [True, False])
def test_weights_go_once_all_splits_are_scored_unless_they_are_kept(tmp_path, keep_weights):
    (tmp_path / "model").mkdir()
    (tmp_path / snapshots.FOLDER / snapshots.TRAINING).mkdir(parents=True)
    snapshots.release(tmp_path, ["test"], keep_weights)
    assert (tmp_path / "model").exists()
    (tmp_path / "test.scores.json").touch()
    snapshots.release(tmp_path, ["test"], keep_weights)
    assert (tmp_path / "model").exists() == keep_weights


def test_weights_that_were_kept_stay_when_they_are_scored_again(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "test.scores.json").touch()
    snapshots.release(tmp_path, ["test"], keep_weights=False)
    assert (tmp_path / "model").exists()


def test_snapshots_go_once_all_splits_are_scored(tmp_path):
    (tmp_path / snapshots.FOLDER).mkdir()
    for split in ("test", "devtest"):
        assert (tmp_path / snapshots.FOLDER).exists()
        (tmp_path / f"{split}.scores.json").touch()
        snapshots.release(tmp_path, ["test", "devtest"])
    assert not (tmp_path / snapshots.FOLDER).exists()
