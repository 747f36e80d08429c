"""Only the translations that a run made are scored, and what segments contribute comes back bit for bit."""

import numpy as np
import pytest

from skipclm import evaluation, provenance
from skipclm.errors import InputError


@pytest.fixture
def made(tmp_path):
    """A file of three translations, and what identifies it."""
    path = tmp_path / "test.hypotheses.txt"
    provenance.write_lines(path, ["eins", "", "drei"])
    return path, evaluation.describe(path, [False, False, True])


def test_translations_come_back_with_those_that_were_cut(made):
    assert evaluation.read_hypotheses(*made) == (["eins", "", "drei"], [False, False, True])
    assert made[1]["cut"] == [3]


@pytest.mark.parametrize(
    "lines",
    [["eins", ""], ["eins", "", "drei", "vier"], ["", "eins", "drei"], ["one", "", "three"], []],
    ids=["shortened", "longer", "out of order", "another run's", "empty"],
)
def test_other_translations_are_refused(made, lines):
    path, generation = made
    provenance.write_lines(path, lines)
    with pytest.raises(InputError, match=f"expected the 3 translations that this run made .* found {len(lines)} lines"):
        evaluation.read_hypotheses(path, generation)


def test_segments_come_back_bit_for_bit(tmp_path):
    contributions = {"bleu": np.random.default_rng(1).random((5, 10)), "chrf": np.arange(10.0).reshape(5, 2)}
    evaluation.save_segments(tmp_path / "segments", contributions)
    loaded = evaluation.load_segments(tmp_path / "segments")
    assert all(np.array_equal(loaded[name], rows) for name, rows in contributions.items())
    evaluation.save_segments(tmp_path / "none", {})
    assert evaluation.load_segments(tmp_path / "none") == {}
