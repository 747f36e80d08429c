"""The training loop: history, speed, validation, divergence and progress."""

import json
import math

import pytest
import torch
from torch import nn

from skipclm.errors import InputError
from skipclm.runtime.snapshots import Snapshots
from skipclm.training import training_loop


class _Scripted(nn.Module):
    """A model whose loss at each step is the next number of a list.

    In evaluation, the loss is the mean of the labels and the number of predicted tokens is their sum.
    """

    def __init__(self, values):
        super().__init__()
        self.weight, self.values = nn.Parameter(torch.zeros(())), iter(values)

    def forward(self, labels):
        if not self.training:
            rows = labels[:, 0].float()
            return {"loss": torch.tensor(99.0), "lm_loss": rows.mean(), "predicted_tokens": rows.sum()}
        value = next(self.values)
        return {
            "loss": self.weight * 0 + value,
            "lm_loss": torch.tensor(10.0 * value),
            "tokens": torch.tensor(labels.numel()),
        }


def _run(folder, values, steps, snapshots=None, **options):
    data = [{"labels": torch.tensor([1, 2, 3])}] * 8
    settings = {"learning_rate": 0.1, "schedule": "constant", "warmup": 0.0, "steps": steps, "batch_size": 2} | options
    valid = [{"labels": torch.tensor([value])} for value in (1, 1, 3, 3)]
    options = {"train_dataset": data, "eval_dataset": valid, "snapshots": snapshots}
    trainer = training_loop.TrainingLoop(_Scripted(values), folder, 1, settings, **options)
    trainer.train()
    return trainer


def _column(rows, name):
    return {row["step"]: row[name] for row in rows if name in row}


def test_history_has_means_since_the_last_row(tmp_path):
    rows = _run(tmp_path, [1.0, 2.0, 5.0, 8.0], steps=4, log_every=2).history()
    assert _column(rows, "loss") == {2: 1.5, 4: 6.5}
    assert _column(rows, "lm_loss") == {2: 15.0, 4: 65.0}
    assert "tokens" not in rows[0]


def test_speed_is_tokens_over_seconds(tmp_path, monkeypatch):
    # the clock is read at the start and at both rows; between them are 2 steps of 2 rows of 3 tokens
    clock = iter([100.0, 104.0, 104.0, 105.0, 105.0])
    monkeypatch.setattr(training_loop.time, "perf_counter", lambda: next(clock))
    rows = _run(tmp_path, [1.0] * 4, steps=4, log_every=2).history()
    assert _column(rows, "tokens_per_second") == {2: 3.0, 4: 12.0}


def test_speed_excludes_validation(tmp_path, monkeypatch):
    # as above; the clock is also read before and after each validation, which takes 50 seconds
    clock = iter([100.0, 104.0, 104.0, 104.0, 154.0, 155.0, 155.0, 155.0, 205.0])
    monkeypatch.setattr(training_loop.time, "perf_counter", lambda: next(clock))
    rows = _run(tmp_path, [1.0] * 4, steps=4, log_every=2, validations=2).history()
    assert _column(rows, "tokens_per_second") == {2: 3.0, 4: 12.0}


def test_history_has_no_row_without_a_loss(tmp_path):
    rows = _run(tmp_path, [1.0] * 5, steps=5, log_every=2).history()
    assert [row["step"] for row in rows] == [2, 4]
    assert all({"loss", "learning_rate", "tokens_per_second"} <= row.keys() for row in rows)


@pytest.mark.parametrize(
    ("steps", "validations", "expected"),
    [(6, 2, [3, 6]), (6, 0, []), (7, 2, [4, 7]), (3, 5, [1, 2, 3]), (6, 4, [2, 4, 6])],
)
def test_validation_loss_is_a_mean_over_tokens_at_the_requested_steps(tmp_path, steps, validations, expected):
    rows = _run(tmp_path, [1.0] * steps, steps=steps, log_every=3, validations=validations).history()
    # one batch has loss 1 over 2 tokens, the other loss 3 over 6 tokens
    assert _column(rows, "valid_loss") == dict.fromkeys(expected, 2.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_training_ends_when_the_loss_is_not_finite(tmp_path, bad):
    trainer = _run(tmp_path, [1.0, 1.0, bad, 1.0, 1.0], steps=5, log_every=1)
    assert trainer.state.global_step == 3
    assert trainer.diverged()
    assert [math.isfinite(row["loss"]) for row in trainer.history()] == [True, True, False]


def test_weight_that_is_not_finite_counts_as_diverged(tmp_path):
    trainer = _run(tmp_path, [1.0, 1.0], steps=2, log_every=1)
    assert not trainer.diverged()
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(math.nan)
    assert trainer.diverged()


def test_learning_rate_warms_up_and_decays(tmp_path):
    # two of eight steps are warm-up (0, 1/2), followed by a line from 1 to 0 over six steps
    rows = _run(tmp_path, [1.0] * 8, steps=8, log_every=1, schedule="linear", warmup=0.25).history()
    rates = [row["learning_rate"] / 0.1 for row in rows]
    assert rates == pytest.approx([0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_progress_bar_shows_loss_and_learning_rate(tmp_path, capsys):
    _run(tmp_path, [1.0, 2.0], steps=2, log_every=2)
    shown = capsys.readouterr()
    assert "2/2" in shown.err
    assert "loss 1.500, learning rate 1.00e-01, tokens per second" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(("last", "loss"), [(4.0, 3.5), (float("nan"), None)])
def test_progress_file_has_step_and_loss(tmp_path, last, loss):
    snapshots = Snapshots(tmp_path / "snapshots", "fingerprint")
    file = tmp_path / "snapshots/progress.json"
    file.parent.mkdir()
    file.write_text("of an earlier training")
    _run(tmp_path, [1.0, 2.0, 3.0, last], steps=4, log_every=2, snapshots=snapshots)
    assert json.loads(file.read_text()) == {"step": 4, "steps": 4, "loss": loss}


def test_training_leaves_no_files(tmp_path):
    _run(tmp_path, [1.0, 2.0], steps=2, validations=1)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.skipif(torch.accelerator.is_available(), reason="`auto` depends on the accelerator")
def test_precision_is_the_requested_one(tmp_path):
    settings = {"steps": 1, "batch_size": 1, "learning_rate": 0.1, "seed": 1}
    halves = [training_loop.arguments(tmp_path, precision=name, **settings).bf16 for name in ("fp32", "auto", "bf16")]
    assert halves == [False, False, True]


def test_bf16_is_refused_if_the_accelerator_lacks_it(tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop.torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(training_loop, "is_torch_bf16_gpu_available", lambda: False)
    with pytest.raises(InputError, match=r"training\.precision: bf16 is not supported by this accelerator; use fp32"):
        training_loop.arguments(tmp_path, precision="bf16", steps=1, batch_size=1, learning_rate=0.1, seed=1)
