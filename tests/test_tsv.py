"""Tables go to files and come back as they were."""

import numpy as np
import pandas as pd
import pytest
from ablations import NAN

from skipclm import tsv
from skipclm.errors import InputError


def test_tsv_round_trip_is_exact(tmp_path):
    frame = pd.DataFrame({"name": ["null", 'say "hi"', None], "value": [0.1 + 0.2, NAN, 1e-17], "n": [1, 2, 3]})
    frame["steps"] = pd.array([300, None, 5], dtype="Int64")
    tsv.write(tmp_path / "a.tsv", frame)
    written = (tmp_path / "a.tsv").read_bytes()
    assert written == (b'name\tvalue\tn\tsteps\nnull\t0.30000000000000004\t1\t300\nsay "hi"\t\t2\t\n\t1e-17\t3\t5\n')
    back = tsv.read(tmp_path / "a.tsv")
    assert back["value"][0] == 0.1 + 0.2
    assert back["name"].isna().tolist() == [False, False, True]
    tsv.write(tmp_path / "b.tsv", back.astype({"steps": "Int64"}))
    assert (tmp_path / "b.tsv").read_bytes() == written


def test_floats_come_back_bit_for_bit(tmp_path):
    numbers = np.random.default_rng(1).random(1000) * 100
    tsv.write(tmp_path / "a.tsv", pd.DataFrame({"value": numbers}))
    assert (tsv.read(tmp_path / "a.tsv")["value"] == numbers).all()


@pytest.mark.parametrize("text", ["a\tb", "a\nb"])
def test_cells_that_would_break_the_table_are_refused(tmp_path, text):
    with pytest.raises(InputError, match="without tabs and line breaks"):
        tsv.write(tmp_path / "a.tsv", pd.DataFrame({"name": [text], "n": [1]}))
    assert not list(tmp_path.iterdir())


def test_missing_and_empty_files_are_explained(tmp_path):
    (tmp_path / "empty.tsv").touch()
    for name in ("absent.tsv", "empty.tsv"):
        with pytest.raises(InputError, match=f"expected a table with a header in .*{name}"):
            tsv.read(tmp_path / name)
