"""The trial of the base model in another process, and its record."""

import json

import pytest
from helpers import OFF, SKIP, trial_config

from skipclm.errors import InputError
from skipclm.models import checkpoints, tokenizer_loading
from skipclm.training import base_trial


def test_trial_in_another_process_is_recorded(new_decoder, save_base, tmp_path):
    folder, record = save_base(new_decoder()), tmp_path / "trial.json"
    base_trial.ensure_tried(folder, trial_config(), record)
    assert json.loads(record.read_text(encoding="utf-8"))["tried"] == ["c2-s1-t3", "skip_only", "finetune"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "trial.json"]


def test_refused_base_model_leaves_no_record(new_decoder, save_base, tmp_path):
    folder, record = save_base(new_decoder()), tmp_path / "trial.json"
    config = trial_config(contrastive=OFF, skip=SKIP, training=trial_config()["training"] | {"max_tokens": 300})
    with pytest.raises(InputError, match=r"c2-s1-t3: training\.max_tokens: expected at most 61"):
        base_trial.ensure_tried(folder, config, record)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_failed_trial_raises_and_leaves_no_record(new_decoder, save_base, tmp_path):
    folder = save_base(new_decoder())
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises((InputError, RuntimeError)):
        base_trial.ensure_tried(folder, trial_config(), tmp_path / "trial.json")
    assert not (tmp_path / "trial.json").exists()


@pytest.mark.parametrize("text", ['{"fingerprint"', "[]", "{}", '{"fingerprint": 3}'])
def test_damaged_record_is_replaced(new_decoder, save_base, tmp_path, monkeypatch, text):
    folder, record = save_base(new_decoder()), tmp_path / "trial.json"
    record.write_text(text, encoding="utf-8")
    monkeypatch.setattr(base_trial, "_run_trial", lambda *inputs: ["full"])
    base_trial.ensure_tried(folder, trial_config(), record)
    assert json.loads(record.read_text(encoding="utf-8"))["tried"] == ["full"]


def test_base_model_is_tried_once(new_decoder, save_base, tmp_path, monkeypatch):
    folder, record = save_base(new_decoder()), tmp_path / "trial.json"
    tries = []
    monkeypatch.setattr(base_trial, "_run_trial", lambda *inputs: tries.append(inputs) or ["full"])
    base_trial.ensure_tried(folder, trial_config(), record)
    base_trial.ensure_tried(folder, trial_config(), record)
    assert len(tries) == 1
    base_trial.ensure_tried(folder, trial_config(skip=SKIP | {"activation": "relu"}), record)
    assert len(tries) == 2
    checkpoints.save(new_decoder("llama"), tokenizer_loading.load_tokenizer(folder), folder, {"model": "another"})
    base_trial.ensure_tried(folder, trial_config(skip=SKIP | {"activation": "relu"}), record)
    assert len(tries) == 3
