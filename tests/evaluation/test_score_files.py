"""Files of translations and scores: identity, checks and contributions of segments."""

from types import SimpleNamespace

import numpy as np
import pytest

from skipclm.errors import InputError
from skipclm.evaluation import score_files
from skipclm.runtime import atomic

OF = {"stage": "ablation", "pair": "en-de", "run": "full", "seed": 1, "split": "test"}


@pytest.fixture
def made(tmp_path):
    """A file of three translations, and its description."""
    path = tmp_path / "test.hypotheses.txt"
    atomic.write_lines(path, ["eins", "", "drei"])
    return path, score_files.describe(path, [False, False, True], OF)


def test_translations_and_cut_marks_are_read_back(made):
    assert score_files.read_hypotheses(*made, OF) == (["eins", "", "drei"], [False, False, True])
    assert made[1]["cut"] == [3]


@pytest.mark.parametrize(
    "lines",
    [["eins", ""], ["eins", "", "drei", "vier"], ["", "eins", "drei"], ["one", "", "three"], []],
    ids=["shortened", "longer", "out of order", "another run's", "empty"],
)
def test_other_translations_are_refused(made, lines):
    path, generation = made
    atomic.write_lines(path, lines)
    with pytest.raises(InputError, match=f"expected the 3 translations that this run made .* found {len(lines)} lines"):
        score_files.read_hypotheses(path, generation, OF)


@pytest.mark.parametrize("other", [{"run": "base"}, {"pair": "en-tr"}, {"seed": 2}, {"split": "b"}, {"stage": "grid"}])
def test_translations_and_description_of_another_run_are_refused(made, other):
    with pytest.raises(
        InputError, match="expected translations of ablation en-de full 1 test, found beside it the desc"
    ):
        score_files.read_hypotheses(made[0], made[1] | other, OF)


def test_identity_of_the_files_of_a_rule():
    assert score_files.identity(SimpleNamespace(**OF | {"seed": "1"}, neural="comet")) == OF


def test_contributions_are_read_back_bit_for_bit(tmp_path):
    contributions = {"bleu": np.random.default_rng(1).random((5, 10)), "chrf": np.arange(10.0).reshape(5, 2)}
    for name, given in (("segments", contributions), ("none", {})):
        path = tmp_path / name
        score_files.save_segments(path, given)
        loaded = score_files.load_segments(path, {"segments_sha256": atomic.sha256(path)})
        assert loaded.keys() == given.keys()
        assert all(np.array_equal(loaded[name], rows) for name, rows in given.items())
    with pytest.raises(InputError, match=r"none: expected the segments that the scores beside it were computed from"):
        score_files.load_segments(tmp_path / "none", {"segments_sha256": atomic.sha256(tmp_path / "segments")})


def test_only_scored_translations_are_shown(made):
    path, generation = made
    scores = {"hypotheses_sha256": generation["sha256"]}
    assert score_files.read_scored(path, scores) == ["eins", "", "drei"]
    atomic.write_lines(path, ["one", "", "three"])
    with pytest.raises(InputError, match=r"expected the translations that the scores beside it belong to .* found"):
        score_files.read_scored(path, scores)
