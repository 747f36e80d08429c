"""Status of an experiment from its files: finished, running, failed and remaining runs."""

import fcntl
import os
import shutil

import pandas as pd
import pytest
from configurations import merged

from skipclm.config import runs
from skipclm.config.experiment import Experiment
from skipclm.errors import InputError
from skipclm.planning import cost, status
from skipclm.runtime import atomic, tsv

OVERLAY = """
experiment: mine
pairs: [en-de]
grid: {seeds: [1, 2], contrastive_layer: [1], skip_source: [1], skip_target: [3, 4]}
ablation: {seeds: [4], variants: {contrastive_only: null, skip_only: null}}
"""


BEST = {"contrastive_layer": 1, "skip_source": 1, "skip_target": 3}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results/mine"
    atomic.write_json(folder / cost.CONFIG, merged(OVERLAY))
    return folder


def _score(results, run, split="valid", **facts):
    """Write the files of a run that is trained with the layers of the first cell, and scored."""
    bleu = facts.pop("bleu", 20.0)
    measured = {name: {"value": bleu} for name in merged(OVERLAY)["evaluation"]["metrics"]}
    score = {"status": "ok", "reason": None, "metrics": measured} | facts
    atomic.write_json(results / run / f"{split}.scores.json", score)
    configured = next(candidate for candidate in Experiment(merged(OVERLAY)).runs if candidate.folder == run)
    settings = runs.with_layers(configured.settings, 4, BEST)
    atomic.write_json(results / run / "training.json", {"settings": settings})
    _took(results, run, 1800.0)


def _took(results, run, seconds, job="train"):
    """Write the benchmark of a job that ran after all previous ones."""
    folder = results.parents[1] / "benchmarks/mine"
    ends = max((path.stat().st_mtime for path in folder.rglob("*.tsv")), default=0.0) + seconds
    path = folder / run / f"{job}.tsv"
    tsv.write(path, pd.DataFrame({"s": [seconds], "max_rss": [1.0]}))
    os.utime(path, (ends, ends))


def test_experiment_that_has_not_started(results):
    (results.parents[1] / "benchmarks/mine").mkdir(parents=True)
    assert status.report(results) == (
        "mine: 0 of 7 runs done, 7 left\n  grid: 0 of 4 runs done, 4 left\n  ablation: 0 of 3 runs done, 3 left\n"
    )


def test_runs_in_all_states(results):
    _score(results, "grid/en-de/c1-s1-t3/seed1", bleu=20.0)
    _score(results, "grid/en-de/c1-s1-t3/seed2", bleu=22.0)
    _score(results, "grid/en-de/c1-s1-t4/seed1", bleu=20.5)
    _score(results, "ablation/en-de/finetune/seed4", "test", status="failed", reason="out of memory", metrics={})
    running = results / "grid/en-de/c1-s1-t4/seed2"
    atomic.write_json(running / "snapshots/progress.json", {"step": 12, "steps": 120, "loss": 4.325})
    note = running / "train.attempt"
    stale = results / "ablation/en-de/base/seed4/test.hypotheses.txt.attempt"  # from a killed job
    stale.parent.mkdir(parents=True)
    stale.touch()
    with open(note, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert status.report(results).splitlines() == [
            "mine: 3 of 7 runs done, 1 running, 1 failed, 2 left",
            "  grid: 3 of 4 runs done, 1 running",
            "  ablation: 0 of 3 runs done, 1 failed, 2 left",
            "running: grid/en-de/c1-s1-t4/seed2, step 12 of 120, loss 4.325",
            "failed: ablation/en-de/finetune/seed4: out of memory",
            "best so far on en-de: c1-s1-t3, BLEU 21.0 (2 of 2 seeds)",
            "left: about 1 h 27 min, with 1 at a time",  # two runs of half an hour, and 108 of the 120 steps of a third
        ]


def test_untrained_runs_do_not_count_for_the_time_of_trainings(results):
    _score(results, "grid/en-de/c1-s1-t3/seed1")
    _score(results, "ablation/en-de/base/seed4", "test")
    _took(results, "ablation/en-de/base/seed4", 10.0)
    assert status.report(results).splitlines()[-1] == "left: about 2 h 30 min, with 1 at a time"  # 3 cells, 2 variants


def test_number_of_parallel_jobs_is_that_of_recent_jobs(results):
    _score(results, "grid/en-de/c1-s1-t3/seed1")
    for name in ("c1-s1-t3", "c1-s1-t4"):
        _score(results, f"grid/en-de/{name}/seed2")
    benchmarks = sorted((results.parents[1] / "benchmarks").rglob("*.tsv"))
    for path, ends in zip(benchmarks, (1800, 2000, 3000), strict=True):  # 5,400 seconds of work took 3,000 seconds
        os.utime(path, (ends, ends))
    assert status.report(results).splitlines()[-1] == "left: about 1 h 0 min, with 2 at a time"
    os.utime(benchmarks[-1], (90_000, 90_000))  # the last job ended much later
    assert status.report(results).splitlines()[-1] == "left: about 2 h 0 min, with 1 at a time"


def test_number_of_parallel_jobs_is_at_most_that_of_remaining_runs(results):
    atomic.write_json(results / "grid/best.json", {"en-de": BEST})
    for run in ("c1-s1-t3/seed1", "c1-s1-t3/seed2", "c1-s1-t4/seed1", "c1-s1-t4/seed2"):
        _score(results, f"grid/en-de/{run}")
    for variant in ("full", "base"):
        _score(results, f"ablation/en-de/{variant}/seed4", "test")
    for path in (results.parents[1] / "benchmarks").rglob("*.tsv"):
        os.utime(path, (1800, 1800))
    assert status.report(results).splitlines()[-1] == "left: about 30 min 0 s, with 1 at a time"


def test_trained_runs_have_only_translation_and_scoring_left(results):
    atomic.write_json(results / cost.CONFIG, merged(OVERLAY + "corpus: {more_tests: {news: {source: demo}}}"))
    atomic.write_json(results / "grid/best.json", {"en-de": BEST})
    for run in ("c1-s1-t3/seed1", "c1-s1-t3/seed2", "c1-s1-t4/seed1", "c1-s1-t4/seed2"):
        _score(results, f"grid/en-de/{run}")
        _took(results, f"grid/en-de/{run}", 600.0, "valid.translate")
    for variant in ("full", "finetune", "base"):
        _score(results, f"ablation/en-de/{variant}/seed4", "test")
    # Two runs are trained. Nothing else is known of `base`, so it counts like a run of the grid.
    assert status.report(results).splitlines()[-1] == "left: about 1 h 0 min, with 1 at a time"


def test_no_time_is_shown_without_benchmarks(results):
    _score(results, "grid/en-de/c1-s1-t3/seed1")
    shutil.rmtree(results.parents[1] / "benchmarks")
    assert status.report(results).splitlines()[-1].startswith("best so far")


def test_finished_experiment(results):
    for seed in (1, 2):
        for cell in ("c1-s1-t3", "c1-s1-t4"):
            _score(results, f"grid/en-de/{cell}/seed{seed}")
    atomic.write_json(results / "grid/best.json", {"en-de": BEST})
    for variant in ("full", "finetune", "base"):
        _score(results, f"ablation/en-de/{variant}/seed4", "test")
    report = status.report(results)
    assert report.startswith("mine: 7 of 7 runs done\n")
    assert "left" not in report
    # Runs with other settings than those of the configuration are left, and so are runs with other layers than the
    # chosen ones.
    atomic.write_json(results / cost.CONFIG, merged(OVERLAY + "training: {learning_rate: 0.25}"))
    assert status.report(results).startswith("mine: 1 of 7 runs done, 6 left\n")
    atomic.write_json(results / cost.CONFIG, merged(OVERLAY))
    atomic.write_json(results / "grid/best.json", {"en-de": BEST | {"skip_target": 4}})
    assert status.report(results).startswith("mine: 6 of 7 runs done, 1 left\n")


def test_run_that_is_translating(results):
    run = "grid/en-de/c1-s1-t4/seed2"
    _score(results, run)
    (results / run / "valid.scores.json").unlink()
    with open(results / run / "valid.hypotheses.txt.attempt", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"running: {run}, trained" in status.report(results).splitlines()


def test_translating_base_model_is_not_shown_as_trained(results):
    run = "ablation/en-de/base/seed4"
    (results / run).mkdir(parents=True)
    with open(results / run / "test.hypotheses.txt.attempt", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"running: {run}" in status.report(results).splitlines()


def test_run_that_lacks_a_metric_is_left(results):
    _score(results, "grid/en-de/c1-s1-t3/seed1")
    atomic.write_json(results / cost.CONFIG, merged(OVERLAY + "evaluation: {metrics: [bleu, ter]}"))
    assert status.report(results).startswith("mine: 0 of 7 runs done, 7 left\n")


def test_model_folder_is_relative_to_the_folder_of_the_workflow(results, tmp_path, monkeypatch):
    atomic.write_json(tmp_path / "models/mine/config.json", {"n_layer": 4})
    model = "model: {source: models/mine, layers: null}"
    atomic.write_json(results / cost.CONFIG, merged(OVERLAY + model))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert status.report(results).startswith("mine: 0 of 7 runs done, 7 left\n")
    shutil.rmtree(tmp_path / "models")
    with pytest.raises(InputError, match=r"model.layers: expected the number of blocks of models/mine, found null"):
        status.report(results)


def test_benchmarks_are_next_to_a_linked_results_folder(results, tmp_path):
    _score(results, "grid/en-de/c1-s1-t3/seed1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").rename(tmp_path / "elsewhere/results")
    (tmp_path / "results").symlink_to(tmp_path / "elsewhere/results")
    assert status.report(results).splitlines()[-1] == "left: about 3 h 0 min, with 1 at a time"


def test_folder_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the results of an experiment"):
        status.report(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", '{"experiment": "mine", ', "[]", '{"experiment": "mine"}', "\0\0", '{"experiment": "mine", "grid": null}'],
)
def test_damaged_configuration_is_named(results, text):
    (results / cost.CONFIG).write_text(text)
    with pytest.raises(InputError, match=rf"^{results / cost.CONFIG}: expected ") as caught:
        status.report(results)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "key"),
    [("grid", "seeds"), ("ablation", "pairs"), ("evaluation", "selection_metric"), ("skip", "enabled")],
)
def test_configuration_of_another_version_is_refused(results, section, key):
    _score(results, "grid/en-de/c1-s1-t3/seed1")
    config = merged(OVERLAY)
    del config[section][key]
    atomic.write_json(results / cost.CONFIG, config)
    with pytest.raises(InputError, match=rf"^{results}: expected records that this version can read, .*'{key}'"):
        status.report(results)


@pytest.mark.parametrize("name", ["valid.scores.json", "training.json"])
@pytest.mark.parametrize("text", ["", '{"status": "ok"', "[]", "{}"])
def test_damaged_record_is_named(results, name, text):
    run = "grid/en-de/c1-s1-t3/seed1"
    _score(results, run)
    (results / run / name).write_text(text)
    with pytest.raises(InputError, match=rf"^{results / run / name}: expected "):
        status.report(results)


def test_damaged_benchmark_is_named(results):
    _score(results, "grid/en-de/c1-s1-t3/seed1")
    path = results.parents[1] / "benchmarks/mine/grid/en-de/c1-s1-t3/seed1/train.tsv"
    path.write_text("seconds\tmemory\n1\t2\n")
    with pytest.raises(InputError, match=rf"^{path}: expected the columns s, max_rss, found no s; make it again"):
        status.report(results)
