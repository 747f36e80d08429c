"""Measured costs, computed by hand from artificial benchmarks."""

import pandas as pd
import pytest
from configurations import merged

from skipclm.config.experiment import Experiment
from skipclm.planning import cost
from skipclm.runtime import atomic, tsv

OVERLAY = """
experiment: mine
pairs: [en-de, en-tr]
grid: {pairs: [en-de], seeds: [1, 2], contrastive_layer: [1, 2], skip_source: [1], skip_target: [3, 4]}
ablation: {seeds: [4, 5], variants: {contrastive_only: null, skip_only: null, longer: {training: {steps: 300}}}}
"""


@pytest.fixture
def config():
    return merged(OVERLAY)


@pytest.fixture
def root(tmp_path):
    """A folder with the benchmarks of some jobs."""
    run = "grid/en-de/c1-s1-t3/seed1"
    for job, attempts in {
        "corpus": [(60.0, 100.0)],
        f"{run}/train": [(30.0, 200.0)],
        f"{run}/valid.translate": [(100.0, "NA"), (40.0, 300.0)],  # the last attempt counts
        f"{run}/valid.score": [(1.0, "NA")],  # too short for a measurement of memory
        "grid/en-de/c9-s1-t3/seed1/train": [(1e6, 1e6)],  # not in the configuration any more, like the next two
        f"{run}/news.translate": [(1e6, 1e6)],
        f"{run}/valid.comet": [(1e6, 1e6)],
        "report": [(3600.0, 10.0)],
    }.items():
        path = tmp_path / f"benchmarks/mine/{job}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Snakemake also writes text into columns of numbers.
        pd.DataFrame(attempts, columns=["s", "max_rss"]).to_csv(path, sep="\t", index=False)
    return tmp_path


def test_number_of_runs(config):
    runs = Experiment(config).runs
    assert sum(run.stage == "grid" for run in runs) == 4 * 2
    assert sum(run.stage == "ablation" for run in runs) == 4 * 2 * 2
    assert runs[0].folder == "grid/en-de/c1-s1-t3/seed1"
    assert {run.splits for run in runs} == {("valid",), ("test",)}


def test_ablation_has_its_own_pairs():
    config = merged(OVERLAY.replace("ablation: {", "ablation: {pairs: [en-tr], "))
    assert {(run.stage, run.pair) for run in Experiment(config).runs} == {("grid", "en-de"), ("ablation", "en-tr")}


def test_jobs_are_counted_by_stage(config, root):
    table = cost.Measured(root, config).by_stage()
    assert table["seconds"].to_dict() == {
        "corpus": 60,
        "trainings": 30,
        "translations": 40,
        "scores": 1,
        "tables and figures": 3600,
    }
    assert table.loc["translations", "memory_mb"] == 300
    assert pd.isna(table.loc["scores", "memory_mb"])


def test_cost_of_a_training_includes_all_attempts(config, root):
    record = root / "results/mine/grid/en-de/c1-s1-t3/seed1/training.json"
    atomic.write_json(record, {"train_seconds": 500.0})
    assert cost.Measured(root, config).by_stage().loc["trainings", "seconds"] == 500
    atomic.write_json(record, {"status": "failed"})
    assert cost.Measured(root, config).by_stage().loc["trainings", "seconds"] == 30


@pytest.mark.parametrize("text", ["", "s\tmax_rss\n"])
def test_empty_benchmark_is_ignored(config, root, text):
    (root / "benchmarks/mine/report.tsv").write_text(text)
    assert "tables and figures" not in cost.Measured(root, config).by_stage().index


def test_cost_is_shown_next_to_the_forecast(config, root):
    jobs = [3, 1, 8, 24, 24, 9]
    names = [stage for stage in cost.STAGES if stage != "neural scores"]  # there are none
    stages = [{"stage": name, "jobs": count, "seconds": 120.0} for name, count in zip(names, jobs, strict=True)]
    atomic.write_json(root / "results/mine" / cost.FORECAST, {"config": config, "stages": stages})
    lines = cost.write_cost(root, config).splitlines()
    assert lines[0].endswith(", and what was predicted")
    assert lines[1].split() == ["corpus", "1", "min", "0", "s", "2", "min", "0", "s"]
    assert lines[-1].split() == ["in", "all", "1", "h", "2", "min", "12", "min", "0", "s"]
    table = tsv.read(root / "results/mine" / cost.COST).set_index("stage")
    assert table.loc["translations", ["jobs", "jobs_predicted"]].tolist() == [1, 24]
    assert table.loc["translations", "hours"] == pytest.approx(40 / 3600)
    assert table.loc["translations", "hours_predicted"] == pytest.approx(120 / 3600)
    assert list(table.index) == names
    assert table.loc["base model", ["jobs", "hours"]].tolist() == [0, 0]
    config["grid"]["seeds"].append(3)
    cost.write_cost(root, config)
    assert tsv.read(root / "results/mine" / cost.COST)["hours_predicted"].isna().all()


def test_cost_is_shown_without_a_forecast(config, root):
    lines = cost.write_cost(root, config).splitlines()
    assert lines[0] == "What all jobs took, one after the other"
    assert lines[1].split() == ["corpus", "1", "min", "0", "s"]
    assert tsv.read(root / "results/mine" / cost.COST)["hours_predicted"].isna().all()


def test_cost_is_written_before_it_is_shown(config, root, monkeypatch, capsys):
    (root / "report.txt").write_text("BLEU für alle", encoding="utf-8")

    def show(text):
        assert (root / "results/mine" / cost.COST).exists()
        print(text)

    monkeypatch.setattr(cost.console, "show", show)
    cost.conclude(root / "report.txt", root, config)
    output = capsys.readouterr().out
    assert output.startswith("BLEU für alle\nWhat all jobs took, one after the other\n")
    assert "in all" in output


@pytest.mark.parametrize("forecast", [None, '{"config":', {"stages": 5}, {}])
def test_unwritable_cost_does_not_hide_the_report(config, root, capsys, forecast):
    (root / "report.txt").write_text("BLEU", encoding="utf-8")
    folder = root / "results/mine"
    if forecast is None:
        (folder / cost.COST).mkdir(parents=True)  # a folder with the name of the file
    elif isinstance(forecast, str):
        atomic.write_text(folder / cost.FORECAST, forecast)
    else:
        atomic.write_json(folder / cost.FORECAST, {"config": config} | forecast)
    cost.conclude(root / "report.txt", root, config)
    assert capsys.readouterr().out.startswith("BLEU\nThe cost of the experiment could not be written: ")


@pytest.mark.parametrize(("seconds", "words"), [(59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7380, "2 h 3 min")])
def test_durations(seconds, words):
    assert cost.duration(seconds) == words


@pytest.mark.parametrize(
    ("job", "stage"),
    [
        ("corpus", "corpus"),
        ("corpus.devtest", "corpus"),
        ("tokens/en-de/train", "corpus"),
        ("base", "base model"),
        ("grid/en-de/c1-s1-t2/seed1/train", "trainings"),
        ("ablation/en-de/full/seed4/test.translate", "translations"),
        ("ablation/en-de/full/seed4/test.comet", "neural scores"),
        ("ablation/en-de/test.translations", "tables and figures"),
        ("figures/grid.en-de", "tables and figures"),
    ],
)
def test_stages_of_jobs(job, stage, tmp_path):
    overlay = OVERLAY.replace("skip_target: [3, 4]", "skip_target: [2]")
    overlay += "evaluation: {metrics: [bleu, comet]}\ncorpus: {more_tests: {devtest: {source: demo, size: 9}}}"
    config = merged(overlay)
    assert cost.Measured(tmp_path, config).stage_of(job) == stage
