"""Snapshots of a training, and files of finished jobs: checks, restoring, removal."""

import json
import os

import pytest

from skipclm.runtime import snapshots


@pytest.fixture
def two(tmp_path):
    """Two snapshots of a training, at steps 9 and 10."""
    store = snapshots.Snapshots(tmp_path / "snapshots", "abc")
    for step in (9, 10):
        folder = store.folder / f"checkpoint-{step}"
        (folder / "deep").mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(step) * 100)
        (folder / "deep/state.json").write_text(str(step))
        store.seal(folder)
    return store


def test_newest_snapshot_is_used(two):
    assert two.newest() == two.folder / "checkpoint-10"


def test_there_may_be_no_snapshot(tmp_path):
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
def test_damaged_snapshot_is_reported_and_the_previous_one_used(two, harm, fault, capsys):
    harm(two.folder / "checkpoint-10")
    assert two.newest() == two.folder / "checkpoint-9"
    assert f"checkpoint-10 is not used: {fault}" in capsys.readouterr().out
    is_incomplete = fault == "it was not written to the end"  # is removed, because it takes space
    assert (two.folder / "checkpoint-10").exists() != is_incomplete


def test_snapshots_of_another_training_are_refused(two, capsys):
    other = snapshots.Snapshots(two.folder, "xyz")
    assert other.newest() is None
    assert capsys.readouterr().out.count("is not used: it has other settings, data or code") == 2


def test_snapshots_are_removed_when_the_training_is_done(two):
    two.remove()
    assert not two.folder.exists()
    two.remove()


def test_furthest_step_is_that_of_a_complete_snapshot(two, tmp_path):
    (two.folder / "checkpoint-11").mkdir()
    assert snapshots.last_step(two.folder) == 10
    assert snapshots.last_step(tmp_path / "none") == 0


def test_incomplete_snapshots_do_not_replace_complete_ones(two):
    for step in (11, 30):
        (two.folder / f"checkpoint-{step}").mkdir()  # incomplete, of attempts that were killed while saving
    (two.folder / "checkpoint-12").mkdir()
    two.seal(two.folder / "checkpoint-12")
    assert sorted(path.name for path in two.folder.iterdir()) == ["checkpoint-10", "checkpoint-12"]


@pytest.fixture
def stored(tmp_path):
    """The paths of files that a job has made, and the folder in which they are stored."""
    files = [tmp_path / "run" / name for name in ("one.txt", "two.json")]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    storage = tmp_path / "run/snapshots/test"
    snapshots.store(files, storage, "abc")
    for path in files:
        path.unlink()
    return files, storage


def test_stored_files_are_restored(stored):
    files, storage = stored
    assert snapshots.restore(files, storage, "abc")
    assert [path.read_text() for path in files] == ["one.txt", "two.json"]


def test_stored_files_that_are_damaged_or_of_another_job_are_not_restored(stored):
    files, storage = stored
    assert not snapshots.restore(files, storage, "xyz")
    (storage / "one.txt").write_text("o")
    assert not snapshots.restore(files, storage, "abc")
    assert not any(path.exists() for path in files)


def test_stored_files_are_removed_once_all_scores_are_newer_than_the_training(stored):
    folder = stored[0][0].parent
    for name in ("test.scores.json", "second.scores.json", "training.json"):
        (folder / name).touch()
    os.utime(folder / "second.scores.json", (1, 1))
    snapshots.release(folder, ["test", "second"])
    assert stored[1].exists()
    (folder / "second.scores.json").touch()
    snapshots.release(folder, ["test", "second"])
    assert not stored[1].exists()


def test_fingerprint_depends_on_settings_and_contents(tmp_path):
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_text("text")
    fingerprint = snapshots.fingerprint({"seed": 1, "steps": 2}, [tmp_path / "a"])
    assert fingerprint == snapshots.fingerprint({"steps": 2, "seed": 1}, [tmp_path / "b"])
    assert fingerprint != snapshots.fingerprint({"steps": 3, "seed": 1}, [tmp_path / "a"])
    (tmp_path / "a").write_text("texts")
    assert fingerprint != snapshots.fingerprint({"steps": 2, "seed": 1}, [tmp_path / "a"])
    assert json.loads(json.dumps(fingerprint)) == fingerprint


@pytest.mark.parametrize("keep_weights", [True, False])
def test_weights_are_removed_after_scoring_unless_configured(tmp_path, keep_weights):
    (tmp_path / "model").mkdir()
    (tmp_path / snapshots.FOLDER / snapshots.TRAINING).mkdir(parents=True)
    snapshots.release(tmp_path, ["test"], keep_weights)
    assert (tmp_path / "model").exists()
    (tmp_path / "test.scores.json").touch()
    snapshots.release(tmp_path, ["test"], keep_weights)
    assert (tmp_path / "model").exists() == keep_weights


def test_existing_weights_stay_when_a_run_is_scored_again(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "test.scores.json").touch()
    snapshots.release(tmp_path, ["test"], keep_weights=False)
    assert (tmp_path / "model").exists()


def test_snapshots_are_removed_once_all_splits_are_scored(tmp_path):
    (tmp_path / snapshots.FOLDER).mkdir()
    for split in ("test", "devtest"):
        assert (tmp_path / snapshots.FOLDER).exists()
        (tmp_path / f"{split}.scores.json").touch()
        snapshots.release(tmp_path, ["test", "devtest"])
    assert not (tmp_path / snapshots.FOLDER).exists()
