"""Forecasts, computed by hand from artificial benchmarks of a small experiment."""

import numpy as np
import pandas as pd
import pytest
from configurations import merged

from skipclm.config.experiment import Experiment
from skipclm.data.examples import Examples
from skipclm.planning import cost, forecast
from skipclm.runtime import atomic, tsv

OVERLAY = """
experiment: mine
pairs: [en-de, en-tr]
training: {steps: 100, validations: 3, processes: 1, batch_size: 2, batch_tokens: null}
model: {scratch: {steps: 200, batch_tokens: 1000}}
skip: {warmup_steps: 50}
grid: {pairs: [en-de], seeds: [1, 2], contrastive_layer: [1, 2], skip_source: [1], skip_target: [3, 4]}
ablation:
  seeds: [4, 5]
  keep_weights: true
  variants:
    contrastive_only: null
    skip_only: null
    longer: {training: {steps: 300}, skip: {warmup_steps: 90}}
"""
SPEED = 50.0  # tokens per second after the first row
TOKENS = 10.0  # in a step of the small training
BATCH = 2  # pairs in a step
LENGTHS = {"en-de": 4, "en-tr": 9}  # tokens of a pair; with three more in the prompt, 7 and 12
PAIRS = {"en-de": 3, "en-tr": 5}  # in the test split


@pytest.fixture
def config():
    return merged(OVERLAY)


@pytest.fixture
def root(tmp_path, config):
    """The files of a small experiment; for example, each job of the corpus took two seconds and 100 MB."""
    mini = forecast.make_small(config)
    results, benchmarks = (tmp_path / part / "mine.plan" for part in ("results", "benchmarks"))
    jobs = dict.fromkeys(("corpus", "grid/select", "report"), 2.0)
    for text in forecast.texts(config):
        pair, split = text.split("/")
        pairs, sentence = (PAIRS[pair] if split == "test" else 3), [1] * (LENGTHS[pair] - 1)
        dropped = [[1] * 500] * (split == "train")  # too long for training
        examples = Examples([sentence] * pairs + dropped, [[1]] * (pairs + len(dropped)), np.zeros((9, 2)))
        examples.save(results / f"tokens/{text}.safetensors")
        jobs[f"tokens/{text}"] = 2.0
    jobs |= {"base": 17.0, "ablation/significance": 5.0, "figures/grid.en-de": 3.0}
    for run in Experiment(mini).runs:
        for split in run.splits:
            jobs |= {f"{run.folder}/{split}.translate": 4.0, f"{run.folder}/{split}.score": 2.5}
        if run.settings["training"]["enabled"]:
            # 12 steps: 4 slow ones of 1 s, 8 of 0.2 s; one validation of 0.5 s; 6 s before and after training.
            jobs[f"{run.folder}/train"] = 6.0 + 4.0 + 8 * 0.2 + 0.5
            facts = {"train_tokens": 12 * TOKENS, "train_steps": 12, "train_seconds": 4.0 + 8 * 0.2 + 0.5}
            facts["gpu_memory_mb"] = None
            atomic.write_json(results / run.folder / "training.json", facts)
            speeds = pd.DataFrame({"tokens_per_second": [10.0, SPEED, SPEED]})
            tsv.write(results / run.folder / "history.tsv", speeds)
            (results / run.folder / "model").mkdir()
            (results / run.folder / "model/weights").write_bytes(bytes(1000))
    tsv.write(results / "base/history.tsv", pd.DataFrame({"tokens_per_second": [500.0, 4000.0, 4000.0]}))
    (results / "base/weights").write_bytes(bytes(500))
    for job, seconds in jobs.items():
        tsv.write(benchmarks / f"{job}.tsv", pd.DataFrame({"s": [seconds], "max_rss": [100.0]}))
    return tmp_path


def test_cells_have_few_steps_if_only_a_variant_enables_training(config):
    config["training"]["enabled"] = False
    config["ablation"]["variants"]["longer"]["training"]["enabled"] = True
    steps = {run.name: run.settings["training"].get("steps") for run in Experiment(forecast.make_small(config)).runs}
    assert set(steps.values()) == {12, None}
    assert steps["c1-s1-t3"] == steps["longer"] == 12


def test_small_experiment_has_each_kind_of_run_with_few_steps(config):
    mini = forecast.make_small(config)
    runs = Experiment(mini).runs
    assert [run.folder for run in runs] == [
        "grid/en-de/c1-s1-t3/seed1",
        *(f"ablation/en-de/{name}/seed4" for name in ("full", "finetune", "base", "longer")),
    ]
    assert {run.settings["training"].get("steps") for run in runs} == {forecast.STEPS, None}
    assert config == merged(OVERLAY)  # is not changed


def test_seconds_are_extrapolated_to_all_steps_and_runs(config, root):
    table = forecast.predict(config, root).set_index("stage")
    # Overhead of a training: its time without 12 steps of 0.2 s and a validation. It includes the slow first steps.
    around = (6.0 + 4.0 + 1.6 + 0.5) - 12 * 0.2 - 0.5
    seconds, tokens = 0.0, 0
    for length, longer, runs in ((7, 1.0, 8 + 2 * 2), (12, 9 / 4, 2 * 2)):  # cells, full and finetune
        others = 2  # with 300 steps
        tokens += (100 * runs + 300 * others) * BATCH * length
        seconds += sum(
            count * (around + steps * BATCH * length / SPEED + 3 * 0.5 * longer)
            for steps, count in ((100, runs), (300, others))
        )
    assert table.loc["trainings", ["jobs", "steps"]].tolist() == [20, 16 * 100 + 4 * 300]
    assert table.loc["trainings", "tokens"] == pytest.approx(tokens)
    assert table.loc["trainings", "seconds"] == pytest.approx(seconds)
    # Eight runs of the grid and eight of the ablation have the measured pair. Eight runs have the other pair, whose
    # test split has more and longer pairs. Two seconds, the time of the shortest job, are startup time.
    assert table.loc["translations", "jobs"] == table.loc["scores", "jobs"] == 24
    assert table.loc["translations", "seconds"] == pytest.approx(16 * 4 + 8 * (2 + 2 * (5 * 9) / (3 * 4)))
    assert table.loc["scores", "seconds"] == pytest.approx(16 * 2.5 + 8 * (2 + 0.5 * (5 * 9) / (3 * 4)))
    # 170 more steps than in the small experiment, 0.25 s each.
    assert table.loc["base model", "seconds"] == pytest.approx(17.0 + 170 * 0.25)
    splits = 2 * 3
    assert table.loc["corpus", ["jobs", "seconds"]].tolist() == [1 + splits, 2.0 + 2.0 * splits]
    # The comparison has 16 runs instead of 4; two seconds are startup time.
    assert table.loc["tables and figures", "seconds"] == pytest.approx((2 + 3 * 16 / 4) + 2 + 2 + 3)


def test_tokens_of_a_step_are_limited_by_batch_tokens(config, root):
    config["training"]["batch_tokens"] = 16  # two pairs have 14 tokens in en-de and 24 in en-tr
    table = forecast.predict(config, root).set_index("stage")
    steps = {"en-de": 8 * 100 + 2 * (100 + 100 + 300), "en-tr": 2 * (100 + 100 + 300)}
    assert table.loc["trainings", "tokens"] == pytest.approx(steps["en-de"] * 14 + steps["en-tr"] * 16)


def test_measured_pair_need_not_be_in_the_ablation(config):
    config["ablation"]["pairs"] = ["en-tr"]
    assert set(forecast.texts(config)) == {
        f"{pair}/{split}" for pair in ("en-de", "en-tr") for split in ("train", "valid", "test")
    }


def test_wall_clock_depends_on_the_number_of_parallel(config, root):
    table = forecast.predict(config, root)
    serial = forecast.wall_clock(table, dict.fromkeys(cost.STAGES, 1))
    assert serial == pytest.approx(table["seconds"].sum())
    base = table.set_index("stage").loc["base model", "seconds"]
    assert forecast.wall_clock(table, forecast.parallel_jobs(config, 2)) == pytest.approx((serial - base) / 2 + base)


def test_forecast_of_comet_uses_its_own_jobs(config, root):
    config["evaluation"]["metrics"] = ["bleu", "comet"]
    mini = forecast.make_small(config)
    for run in Experiment(mini).runs:
        for split in run.splits:
            path = root / f"benchmarks/mine.plan/{run.folder}/{split}.comet.tsv"
            tsv.write(path, pd.DataFrame({"s": [12.0], "max_rss": [3000.0]}))
    row = forecast.predict(config, root).set_index("stage").loc["neural scores"]
    assert row["jobs"] == 24
    assert row["seconds"] == pytest.approx(16 * 12 + 8 * (2 + 10 * (5 * 9) / (3 * 4)))
    text = forecast.to_text(forecast.predict(config, root), config, 2, {"peak": 1e9, "final": 1e9})
    assert "memory: 3.0 GB at most at a time" in text.splitlines()  # only one COMET runs at a time


def test_number_of_parallel_depends_on_cores_gpus_and_processes(config, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    stages = ["base model", "trainings", "translations", "neural scores", "scores"]

    def parallel(cores):
        together = forecast.parallel_jobs(config, cores)
        return [together[stage] for stage in stages]

    assert parallel(8) == [1, 8, 8, 1, 8]
    assert parallel(64) == [
        1,
        12,
        64,
        4,
        64,
    ]  # trainings of the ablation, and eight of the grid; COMET takes 16 cores
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert parallel(8) == [1, 4, 4, 4, 8]
    config["training"]["processes"] = 2
    assert parallel(8) == [1, 2, 4, 4, 8]
    config["execution"]["jobs_per_gpu"] = 3
    assert parallel(8) == [1, 4, 8, 8, 8]  # the cores suffice for eight processes
    config["training"]["processes"] = 1
    config["ablation"]["variants"]["longer"]["training"]["processes"] = 6  # 4 runs; 16 others have one process
    assert parallel(8) == [1, 4, 8, 8, 8]


def test_disk_space_includes_stored_models_and_running_trainings(config, root):
    space = forecast.disk(config, root, parallel_trainings=2)
    trained = 12  # models of variants stay; those of the grid are removed
    text = sum(path.stat().st_size for path in (root / "results/mine.plan/tokens").rglob("*.safetensors"))
    small_files = space["final"] - 500 - text - trained * 1000
    assert 0 <= small_files < 24 * 300
    assert space["peak"] - space["final"] == 2 * (2 + 3 * 3) * 1000
    config["grid"]["keep_weights"] = True
    assert forecast.disk(config, root, parallel_trainings=2)["final"] - space["final"] == 8 * 1000


def test_forecast_as_text(config, root):
    text = forecast.to_text(forecast.predict(config, root), config, 2, {"peak": 2.5e9, "final": 1e9})
    assert text.splitlines()[0] == "8 runs of the grid, 16 of the ablation"
    assert text.splitlines()[-4].split()[:2] == ["in", "all"]
    assert "disk: 2.50 GB at its highest point, 1.00 GB in the end" in text
    assert "on 2 cores, 2 trainings at a time" in text
    assert "GPU" not in text


def test_gpu_hours_include_all_jobs_that_lease_gpus(config, root, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    table = forecast.predict(config, root)
    table["seconds"] = [1e6, 3600.0, 7200.0, 1800.0, 1e6, 1e6]
    text = forecast.to_text(table, config, 2, {"peak": 1e9, "final": 1e9})
    assert "GPUs: 3 h 30 min in all, 1 h 45 min of each of 2" in text.splitlines()
    config["training"]["processes"] = 2  # each process leases a GPU
    text = forecast.to_text(table, config, 2, {"peak": 1e9, "final": 1e9})
    assert "GPUs: 5 h 30 min in all, 2 h 45 min of each of 2" in text.splitlines()
    config["execution"]["jobs_per_gpu"] = 2
    text = forecast.to_text(table, config, 2, {"peak": 1e9, "final": 1e9})
    assert "GPUs: 2 h 45 min in all, 1 h 22 min of each of 2" in text.splitlines()


def test_gpu_memory_is_that_of_the_largest_training(config, root):
    record = root / "results/mine.plan/ablation/en-de/full/seed4/training.json"
    atomic.write_json(record, atomic.read_json(record) | {"gpu_memory_mb": 2500.0})
    text = forecast.to_text(forecast.predict(config, root), config, 2, {"peak": 2.5e9, "final": 1e9})
    assert "GPU memory: 2.5 GB for each training" in text.splitlines()
