"""Training jobs from files to files: in one process and in two, interrupted, resumed and failed."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from helpers import CONTRASTIVE, LORA, SKIP, TRAINING
from safetensors.torch import load_file
from torch.distributed import DistError

from skipclm.errors import InputError
from skipclm.models import checkpoints
from skipclm.runtime import atomic, provenance, tsv
from skipclm.training import training_job

STEPS = 12


def _make_job(folder, decoder, tokenizer, examples):
    checkpoints.save(decoder, tokenizer, folder / "base", {})
    for split in ("train", "valid"):
        examples.save(folder / f"{split}.safetensors")
    training = TRAINING | {"steps": STEPS, "validations": 2}
    return training_job.TrainingJob(
        pair="en-de",
        seed=1,
        settings={"contrastive": CONTRASTIVE, "skip": SKIP, "lora": LORA | {"enabled": False}, "training": training},
        code="abc",
        base=str(folder / "base"),
        train=str(folder / "train.safetensors"),
        valid=str(folder / "valid.safetensors"),
        model=str(folder / "run/model"),
        history=str(folder / "run/history.tsv"),
        record=str(folder / "run/training.json"),
        snapshots=str(folder / "run/snapshots"),
        snapshot_minutes=10,
        threads=1,
    )


@pytest.fixture
def job(tmp_path, new_decoder, tokenizer, examples):
    """A training of a small decoder on the toy pair."""
    return _make_job(tmp_path, new_decoder(spread=0.02), tokenizer, examples)


@pytest.fixture(scope="module")
def finished_shared(tmp_path_factory, new_decoder, tokenizer, examples):
    """The same job, finished by two processes; their working folder has modules with the names of others."""
    folder = tmp_path_factory.mktemp("shared")
    job = _shared(_make_job(folder, new_decoder(spread=0.02), tokenizer, examples))
    for name in ("random", "datasets", "json", "statistics"):
        (folder / f"{name}.py").write_text("raise RuntimeError('a module of the working folder')\n")
    with chdir(folder):
        training_job.run(job)
    return job


def _shared(job, **changes):
    """Return the job with two processes."""
    training = job.settings["training"] | {"processes": 2} | changes
    return replace(job, settings=job.settings | {"training": training}, threads=2)


def _elsewhere(job, name):
    """Return the job with its outputs in another folder."""
    outputs = {
        key: getattr(job, key).replace("/run/", f"/{name}/") for key in ("model", "history", "record", "snapshots")
    }
    return replace(job, **outputs)


def _weights(job):
    return Path(job.model, "model.safetensors").read_bytes()


def _files(job):
    return sorted(path.name for path in Path(job.record).parent.iterdir())


def test_job_writes_model_history_and_record(job):
    training_job.run(job)
    record = atomic.read_json(job.record)
    assert (record["pair"], record["seed"], record["status"], record["train_steps"]) == ("en-de", 1, "ok", STEPS)
    assert record == atomic.read_json(Path(job.model) / provenance.RECORD)
    assert len(tsv.read(job.history)) == STEPS // 2
    assert _files(job) == ["history.tsv", "model", "snapshots", "training.json"]
    assert record["train_tokens"] > 0


def test_finished_training_is_not_repeated(job, capfd):
    """Snakemake removes the outputs of a training if the translation in the same cluster job fails."""
    training_job.run(job)
    weights, record = _weights(job), Path(job.record).read_text()
    for path in (job.history, job.record):
        Path(path).unlink()
    shutil.rmtree(job.model)
    training_job.run(job)
    assert "was done before" in capfd.readouterr().out
    assert (_weights(job), Path(job.record).read_text()) == (weights, record)
    assert _files(job) == ["history.tsv", "model", "snapshots", "training.json"]
    training_job.run(replace(job, seed=2))
    assert atomic.read_json(job.record)["seed"] == 2


def test_stored_model_shares_its_disk_space(job):
    training_job.run(job)
    assert Path(job.model, "model.safetensors").stat().st_nlink == 2


def test_tokenizer_with_several_chat_templates_is_saved_with_them(job, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    tokenizer.save_pretrained(job.base)
    training_job.run(job)
    (folder,) = (path for path in Path(job.model).iterdir() if path.is_dir())
    assert [path.read_text() for path in folder.iterdir()] == ["{{ tools }}"]


@pytest.mark.parametrize(
    "change",
    [
        lambda job: replace(job, code="def"),
        lambda job: replace(job, pair="en-tr"),
        lambda job: replace(job, train=job.base + "/config.json"),
        lambda job: _shared(job),
    ],
    ids=["code", "pair", "text", "settings"],
)
def test_fingerprint_depends_on_everything_that_affects_the_result(job, change):
    assert change(job).fingerprint != job.fingerprint
    assert replace(job, threads=7, snapshot_minutes=0, model="elsewhere").fingerprint == job.fingerprint


def test_fingerprint_does_not_depend_on_the_date_of_the_base_model(job):
    same = replace(job)
    assert job.fingerprint
    atomic.write_json(Path(job.base) / provenance.RECORD, {"finished": "another day"})
    Path(job.base, "history.tsv").write_text("tokens_per_second\n1.0\n", encoding="utf-8")
    assert same.fingerprint == job.fingerprint
    Path(job.base, "config.json").write_text("{}", encoding="utf-8")
    assert replace(job).fingerprint != job.fingerprint


def test_failed_training_has_a_record_with_the_reason_and_no_weights(job):
    Path(job.snapshots, "checkpoint-1").mkdir(parents=True)
    training_job.run(job, "RuntimeError: no luck\nTraceback ...")
    record = atomic.read_json(job.record)
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: no luck")
    assert [path.name for path in Path(job.model).iterdir()] == [provenance.RECORD]
    assert tsv.read(job.history).empty


def test_curves_go_to_tensorboard_on_request(job, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training_job.run(replace(job, tensorboard=str(tmp_path / "board")))
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(
        tsv.read(job.history)["loss"].tolist()
    )
    assert {"train/contrastive_loss", "train/gate", "eval/loss"} <= set(events.Tags()["scalars"])


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(job, finished_shared):
    training_job.run(job)
    assert _files(finished_shared) == ["history.tsv", "model", "snapshots", "training.json"]
    expected, history = tsv.read(job.history), tsv.read(finished_shared.history)
    for name in ("loss", "lm_loss", "contrastive_loss", "retrieval_accuracy", "gate"):
        assert history[name].tolist() == pytest.approx(expected[name].tolist(), rel=1e-3), name
    losses = [table["valid_loss"].dropna().tolist() for table in (history, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    weights = [load_file(Path(path) / "model.safetensors") for path in (job.model, finished_shared.model)]
    assert weights[0].keys() == weights[1].keys()


START = """
import json, sys
from skipclm.runtime import jobs
from skipclm.training import training_job
from skipclm.errors import TerminatedError
job = training_job.TrainingJob(**json.loads(sys.argv[1]))
with jobs.job(sys.argv[2]):
    training_job.run(job)
"""


@pytest.mark.slow
def test_two_interrupted_processes_resume_with_the_same_result(job, tmp_path):
    uninterrupted = _elsewhere(_shared(job, steps=80), "uninterrupted")
    training_job.run(uninterrupted)
    part, log = _shared(job, steps=80), tmp_path / "log"

    def seals():
        return set(Path(part.snapshots).glob("checkpoint-*/seal.json"))

    # The first attempt saves a snapshot on SIGTERM, the second one before it is killed.
    for ending, minutes in ((signal.SIGTERM, 10), (signal.SIGKILL, 0)):
        before, attempt = seals(), replace(part, snapshot_minutes=minutes)
        log.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", START, json.dumps(asdict(attempt)), str(log)]) as process:
            while not (seals() - before or (minutes and log.exists() and re.search(r" [1-9]\d*/80 ", log.read_text()))):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            process.send_signal(ending)
        assert process.returncode != 0
        assert seals() - before
        assert not Path(part.record).exists()
    training_job.run(part)
    assert _weights(part) == _weights(uninterrupted)
    for name in ("loss", "valid_loss", "gate"):
        assert tsv.read(part.history)[name].equals(tsv.read(uninterrupted.history)[name])


SHORT_OF_MEMORY = """
import os
import sys

if os.environ.get("RANK") == "1":
    import torch
    from skipclm.training import fine_tuning as training

    run, count = training.Objective._run, 0

    def short_of_memory(self, batch, *rest):
        global count
        count += 1
        if self.training and count > 5 and len(batch["length"]) > 4:
            raise torch.OutOfMemoryError("injected")
        return run(self, batch, *rest)

    training.Objective._run = short_of_memory
"""


@pytest.mark.slow
def test_lack_of_memory_in_one_of_two_processes_does_not_change_the_batch(job, finished_shared, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SHORT_OF_MEMORY, encoding="utf-8")  # Python runs it at start
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    short = replace(_shared(job), snapshot_minutes=0)
    training_job.run(short)
    records = [atomic.read_json(path) for path in (finished_shared.record, short.record)]
    assert [record["micro_batch"] for record in records] == [None, 4]  # each process has 8 pairs
    assert records[0]["train_tokens"] == records[1]["train_tokens"]
    expected, history = tsv.read(finished_shared.history), tsv.read(short.history)
    for name in ("loss", "lm_loss", "contrastive_loss", "valid_loss"):
        assert history[name].dropna().tolist() == pytest.approx(expected[name].dropna().tolist(), rel=1e-3), name


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([InputError("lower it"), DistError("connection closed")], InputError("lower it")),
        ([DistError("connection closed"), OSError(28, "No space left on device")], OSError),
        ([RuntimeError("/gloo/ closed"), ValueError("bad luck")], RuntimeError("ValueError: bad luck")),
        ([DistError("connection closed")], RuntimeError("one of 2 processes was killed")),
    ],
)
def test_first_cause_of_several_errors_is_raised(errors, expected):
    endings = [training_job._describe_ending(error) for error in errors]
    kind, message = (expected, "No space left") if isinstance(expected, type) else (type(expected), str(expected))
    with pytest.raises(kind, match=message):
        training_job._raise_first_cause(endings, 2)


IS_KILLED = """
import os

if os.environ.get("RANK") == "1":
    from skipclm.training import fine_tuning as training

    training.train = lambda *rest, **options: os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_dead_process_ends_all_processes(job, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(IS_KILLED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RuntimeError, match="one of 2 processes was killed"):
        training_job.run(_shared(job))
    assert not Path(job.model).exists()


SAVES_SLOWLY = """
import time

from skipclm.models import checkpoints
from skipclm.training import training_job

save = checkpoints.save

def slowly(*rest):
    print("saves", flush=True)
    time.sleep(2)
    save(*rest)

training_job.checkpoints.save = slowly
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_during_the_final_save_does_not_lose_the_training(job, tmp_path, monkeypatch, processes):
    (tmp_path / "sitecustomize.py").write_text(SAVES_SLOWLY, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    log, training = tmp_path / "log", job if processes == 1 else _shared(job)
    with subprocess.Popen([sys.executable, "-c", START, json.dumps(asdict(training)), str(log)]) as process:
        while not (log.exists() and "saves" in log.read_text()):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert atomic.read_json(training.record)["status"] == "ok"
