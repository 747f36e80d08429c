"""Costs are counted up by hand from made-up benchmarks of a small experiment."""

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
TOKENS = 10.0  # of a small training's step
BATCH = 2  # pairs of a step
LENGTHS = {"en-de": 4, "en-tr": 9}  # of the examples, with three tokens around their sentences 7 and 12
PAIRS = {"en-de": 3, "en-tr": 5}  # of test


@pytest.fixture
def config():
    return merged(OVERLAY)


@pytest.fixture
def root(tmp_path, config):
    """What a small experiment leaves: each job of the corpus, say, took two seconds and 100 MB."""
    mini = forecast.small(config)
    results, benchmarks = (tmp_path / place / "mine.plan" for place in ("results", "benchmarks"))
    jobs = dict.fromkeys(("corpus", "grid/select", "report"), 2.0)
    for text in forecast.texts(config):
        pair, split = text.split("/")
        pairs, kept = (PAIRS[pair] if split == "test" else 3), [1] * (LENGTHS[pair] - 1)
        dropped = [[1] * 500] * (split == "train")  # longer than any that is trained on
        examples = Examples([kept] * pairs + dropped, [[1]] * (pairs + len(dropped)), np.zeros((9, 2)))
        examples.save(results / f"tokens/{text}.safetensors")
        jobs[f"tokens/{text}"] = 2.0
    jobs |= {"base": 17.0, "ablation/significance": 5.0, "figures/grid.en-de": 3.0}
    for run in Experiment(mini).runs:
        for split in run.splits:
            jobs |= {f"{run.folder}/{split}.translate": 4.0, f"{run.folder}/{split}.score": 2.5}
        if run.settings["training"]["enabled"]:
            # 12 steps: 4 slow ones of 1 s, 8 of 0.2 s; one validation of 0.5 s; 6 s around it all.
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


def test_cells_have_few_steps_where_a_variant_alone_switches_training_on(config):
    config["training"]["enabled"] = False
    config["ablation"]["variants"]["longer"]["training"]["enabled"] = True
    steps = {run.name: run.settings["training"].get("steps") for run in Experiment(forecast.small(config)).runs}
    assert set(steps.values()) == {12, None}
    assert steps["c1-s1-t3"] == steps["longer"] == 12


def test_the_small_experiment_has_a_run_of_each_kind_and_few_steps(config):
    mini = forecast.small(config)
    found = Experiment(mini).runs
    assert [run.folder for run in found] == [
        "grid/en-de/c1-s1-t3/seed1",
        *(f"ablation/en-de/{name}/seed4" for name in ("full", "finetune", "base", "longer")),
    ]
    assert {run.settings["training"].get("steps") for run in found} == {forecast.STEPS, None}
    assert config == merged(OVERLAY)  # is left alone


def test_seconds_are_counted_up_to_all_steps_and_runs(config, root):
    table = forecast.predict(config, root).set_index("stage")
    # Around a training: what it took less 12 steps of 0.2 s and a validation. Slow first steps are part of it.
    around = (6.0 + 4.0 + 1.6 + 0.5) - 12 * 0.2 - 0.5
    seconds, tokens = 0.0, 0
    for length, longer, runs in ((7, 1.0, 8 + 2 * 2), (12, 9 / 4, 2 * 2)):  # cells, full and finetune
        others = 2  # of 300 steps
        tokens += (100 * runs + 300 * others) * BATCH * length
        seconds += sum(
            count * (around + steps * BATCH * length / SPEED + 3 * 0.5 * longer)
            for steps, count in ((100, runs), (300, others))
        )
    assert table.loc["trainings", ["jobs", "steps"]].tolist() == [20, 16 * 100 + 4 * 300]
    assert table.loc["trainings", "tokens"] == pytest.approx(tokens)
    assert table.loc["trainings", "seconds"] == pytest.approx(seconds)
    # Eight runs of the grid and eight of the ablation are of the measured pair, eight of the other, of which test has
    # more and longer pairs. Two seconds, as the shortest job takes, are the start.
    assert table.loc["translations", "jobs"] == table.loc["scores", "jobs"] == 24
    assert table.loc["translations", "seconds"] == pytest.approx(16 * 4 + 8 * (2 + 2 * (5 * 9) / (3 * 4)))
    assert table.loc["scores", "seconds"] == pytest.approx(16 * 2.5 + 8 * (2 + 0.5 * (5 * 9) / (3 * 4)))
    # 170 steps more than the small one's, of 0.25 s each.
    assert table.loc["base model", "seconds"] == pytest.approx(17.0 + 170 * 0.25)
    splits = 2 * 3
    assert table.loc["corpus", ["jobs", "seconds"]].tolist() == [1 + splits, 2.0 + 2.0 * splits]
    # A comparison of 16 runs where the small one had 4, two seconds of it the start.
    assert table.loc["tables and figures", "seconds"] == pytest.approx((2 + 3 * 16 / 4) + 2 + 2 + 3)


def test_a_step_has_no_more_than_batch_tokens(config, root):
    config["training"]["batch_tokens"] = 16  # two pairs of en-de have 14, and of en-tr 24
    table = forecast.predict(config, root).set_index("stage")
    steps = {"en-de": 8 * 100 + 2 * (100 + 100 + 300), "en-tr": 2 * (100 + 100 + 300)}
    assert table.loc["trainings", "tokens"] == pytest.approx(steps["en-de"] * 14 + steps["en-tr"] * 16)


def test_the_measured_pair_need_not_be_one_of_the_ablation(config):
    config["ablation"]["pairs"] = ["en-tr"]
    assert set(forecast.texts(config)) == {
        f"{pair}/{split}" for pair in ("en-de", "en-tr") for split in ("train", "valid", "test")
    }


def test_the_clock_goes_by_what_runs_at_a_time(config, root):
    table = forecast.predict(config, root)
    alone = forecast.wall_clock(table, dict.fromkeys(cost.STAGES, 1))
    assert alone == pytest.approx(table["seconds"].sum())
    base = table.set_index("stage").loc["base model", "seconds"]
    assert forecast.wall_clock(table, forecast.parallel_jobs(config, 2)) == pytest.approx((alone - base) / 2 + base)


def test_comet_is_forecast_from_its_own_jobs(config, root):
    config["evaluation"]["metrics"] = ["bleu", "comet"]
    mini = forecast.small(config)
    for run in Experiment(mini).runs:
        for split in run.splits:
            path = root / f"benchmarks/mine.plan/{run.folder}/{split}.comet.tsv"
            tsv.write(path, pd.DataFrame({"s": [12.0], "max_rss": [3000.0]}))
    found = forecast.predict(config, root).set_index("stage").loc["neural scores"]
    assert found["jobs"] == 24
    assert found["seconds"] == pytest.approx(16 * 12 + 8 * (2 + 10 * (5 * 9) / (3 * 4)))
    said = forecast.to_text(forecast.predict(config, root), config, 2, {"highest": 1e9, "stays": 1e9})
    assert "memory: 3.0 GB at most at a time" in said.splitlines()  # of one COMET, not of two


def test_cores_gpus_and_processes_say_how_many_jobs_run_at_a_time(config, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    stages = ["base model", "trainings", "translations", "neural scores", "scores"]

    def found(cores):
        together = forecast.parallel_jobs(config, cores)
        return [together[stage] for stage in stages]

    assert found(8) == [1, 8, 8, 1, 8]
    assert found(64) == [1, 12, 64, 4, 64]  # trainings of the ablation, and eight of the grid; COMET takes 16 cores
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert found(8) == [1, 4, 4, 4, 8]
    config["training"]["processes"] = 2
    assert found(8) == [1, 2, 4, 4, 8]
    config["execution"]["jobs_per_gpu"] = 3
    assert found(8) == [1, 4, 8, 8, 8]  # of which there are cores for eight processes
    config["training"]["processes"] = 1
    config["ablation"]["variants"]["longer"]["training"]["processes"] = 6  # 4 runs, and 16 of one process
    assert found(8) == [1, 4, 8, 8, 8]


def test_disk_has_what_is_kept_and_what_trains(config, root):
    space = forecast.disk(config, root, parallel_trainings=2)
    trained = 12  # variants that are kept; the grid's weights go
    text = sum(path.stat().st_size for path in (root / "results/mine.plan/tokens").rglob("*.safetensors"))
    small_files = space["stays"] - 500 - text - trained * 1000
    assert 0 <= small_files < 24 * 300
    assert space["highest"] - space["stays"] == 2 * (2 + 3 * 3) * 1000
    config["grid"]["keep_weights"] = True
    assert forecast.disk(config, root, parallel_trainings=2)["stays"] - space["stays"] == 8 * 1000


def test_forecast_in_words(config, root):
    said = forecast.to_text(forecast.predict(config, root), config, 2, {"highest": 2.5e9, "stays": 1e9})
    assert said.splitlines()[0] == "8 runs of the grid, 16 of the ablation"
    assert said.splitlines()[-4].split()[:2] == ["in", "all"]
    assert "disk: 2.50 GB at its highest point, 1.00 GB in the end" in said
    assert "on 2 cores, 2 trainings at a time" in said
    assert "GPU" not in said


def test_hours_of_gpus_are_those_of_all_that_lease_them(config, root, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    table = forecast.predict(config, root)
    table["seconds"] = [1e6, 3600.0, 7200.0, 1800.0, 1e6, 1e6]
    said = forecast.to_text(table, config, 2, {"highest": 1e9, "stays": 1e9})
    assert "GPUs: 3 h 30 min in all, 1 h 45 min of each of 2" in said.splitlines()
    config["training"]["processes"] = 2  # each of which leases a GPU
    said = forecast.to_text(table, config, 2, {"highest": 1e9, "stays": 1e9})
    assert "GPUs: 5 h 30 min in all, 2 h 45 min of each of 2" in said.splitlines()
    config["execution"]["jobs_per_gpu"] = 2
    said = forecast.to_text(table, config, 2, {"highest": 1e9, "stays": 1e9})
    assert "GPUs: 2 h 45 min in all, 1 h 22 min of each of 2" in said.splitlines()


def test_memory_of_a_gpu_is_that_of_the_largest_training(config, root):
    record = root / "results/mine.plan/ablation/en-de/full/seed4/training.json"
    atomic.write_json(record, atomic.read_json(record) | {"gpu_memory_mb": 2500.0})
    said = forecast.to_text(forecast.predict(config, root), config, 2, {"highest": 2.5e9, "stays": 1e9})
    assert "GPU memory: 2.5 GB for each training" in said.splitlines()
