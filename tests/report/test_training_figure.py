"""The figure of the losses of the grid."""

import numpy as np
import pandas as pd
import pytest

from skipclm.errors import InputError
from skipclm.report import training_figure

NAN = float("nan")


def _history(steps=120, **columns):
    step = np.arange(1, steps + 1)
    return pd.DataFrame({"step": step, "loss": 5 / step, **columns})


def test_losses(tmp_path, texts_in):
    rare = np.where(np.arange(120) % 40 == 39, 2.0, NAN)
    histories = {
        "full": _history(lm_loss=np.linspace(4, 2, 120), contrastive_loss=1.0, valid_loss=rare),
        "plain_run": _history(contrastive_loss=NAN),
    }
    training_figure.draw_losses(histories, tmp_path / "loss")
    texts = texts_in(tmp_path / "loss")
    assert {"LM loss (nats per token)", "contrastive loss (nats)", "full", "plain run", "validation"} <= set(texts)
    assert "training step (running mean of 2 points)" in texts


def test_losses_of_many_runs_and_of_one(tmp_path, texts_in):
    many = {f"run{number}": _history() for number in range(12)}
    training_figure.draw_losses(many, tmp_path / "many", highlight=["run3", "run4"])
    texts = texts_in(tmp_path / "many")
    assert {"run3", "run4", "10 other runs"} <= set(texts)
    assert "contrastive loss (nats)" not in texts
    training_figure.draw_losses({"only": _history(steps=1)}, tmp_path / "one")
    assert "only" in texts_in(tmp_path / "one")
    with pytest.raises(InputError, match="expected runX among the histories, found run0, run1"):
        training_figure.draw_losses(many, tmp_path / "wrong", highlight=["runX"])


def test_figure_drawn_twice_is_the_same_file(repeats):
    assert repeats(lambda stem: training_figure.draw_losses({"a": _history()}, stem))
