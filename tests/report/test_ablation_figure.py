"""The figure of the ablation."""

from itertools import product

import pandas as pd
import pytest

from skipclm.analysis.ablation_summary import summarise
from skipclm.errors import InputError
from skipclm.report import ablation_figure

NAN = float("nan")


def _ablation(seeds=3, lost=()):
    rows = [
        (
            *(pair, "test", variant, seed, "bleu"),
            *((NAN, "sig", "diverged") if (pair, variant) in lost else (base + seed, "sig", "ok")),
        )
        for pair in ("en-de", "en-tr")
        for variant, base in (("full", 20.0), ("skip_only", 15.0), ("base", 5.0))
        for seed in range(seeds)
    ]
    columns = ["pair", "split", "variant", "seed", "metric", "value", "signature", "status"]
    return pd.DataFrame(rows, columns=columns).assign(note=None, sentences=500)


def test_bars(tmp_path, texts_in):
    scores = _ablation(lost=[("en-tr", "skip_only")])
    ablation_figure.draw_bars(summarise(scores), tmp_path / "bars", scores=scores)
    texts = texts_in(tmp_path / "bars")
    assert {"en-de", "en-tr", "full", "skip only", "base", "21.0", "16.0", "6.0"} <= set(texts)
    assert texts.count("diverged") == 1
    assert "test BLEU, mean ± sd, dots: seeds" in texts


def test_bars_name_the_number_of_remaining_seeds(tmp_path, texts_in):
    scores = _ablation()
    scores.loc[0, ["value", "status"]] = (NAN, "diverged")
    ablation_figure.draw_bars(summarise(scores), tmp_path / "bars", scores=scores)
    assert "21.5 (2/3)" in texts_in(tmp_path / "bars")


def test_bars_of_one_seed_and_of_none(tmp_path, texts_in):
    ablation_figure.draw_bars(summarise(_ablation(seeds=1)), tmp_path / "one")
    assert "test BLEU" in texts_in(tmp_path / "one")
    lost = _ablation(lost=list(product(("en-de", "en-tr"), ("full", "skip_only", "base"))))
    ablation_figure.draw_bars(summarise(lost), tmp_path / "none")
    assert texts_in(tmp_path / "none").count("diverged") == 6
    with pytest.raises(InputError, match="expected chrf on test"):
        ablation_figure.draw_bars(summarise(lost), tmp_path / "wrong", "chrf")


def test_each_test_set_has_its_own_bars(tmp_path, texts_in):
    both = pd.concat([_ablation(), _ablation().assign(split="devtest", value=99.0)])
    ablation_figure.draw_bars(summarise(both), tmp_path / "bars", "bleu", "devtest", both)
    texts = texts_in(tmp_path / "bars")
    assert texts.count("99.0") == 6
    assert "21.0" not in texts
    assert any(text.startswith("devtest BLEU") for text in texts)


def test_figure_drawn_twice_is_the_same_file(repeats):
    scores = _ablation()
    assert repeats(lambda stem: ablation_figure.draw_bars(summarise(scores), stem, scores=scores))
