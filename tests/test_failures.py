"""Runs that diverge, fail or are killed; swapped translations; full and read-only disks."""

import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from workflows import RESULTS, editing, planned, processes, rows, snakemake, without_times

pytestmark = pytest.mark.slow


def test_diverged_cell_is_a_row_and_does_not_stop_the_workflow(copied):
    record = copied / RESULTS / "grid/en-de/c1-s1-t2/seed1/training.json"
    facts = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps(facts | {"status": "diverged", "train_loss": None}), encoding="utf-8")
    snakemake(copied, *[str(RESULTS / name) for name in ("grid/cells.tsv", "figures/grid_heatmap.en-de.svg")])
    row = rows(copied / RESULTS / "grid/scores.tsv")[0]
    assert (row["status"], row["bleu"], row["chrf"]) == ("diverged", "", "")
    best = json.loads((copied / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]
    assert best["skip_target"] == 3
    assert len(best["diverged"]) == 1


def test_diverged_variant_is_marked_in_tables_and_figures(copied):
    with editing(copied) as config:
        config["ablation"]["variants"]["wild"] = {"training": {"learning_rate": 1e20}}
    snakemake(copied, *[str(RESULTS / name) for name in ("ablation/table.md", "figures/ablation.test.bleu.svg")])
    wild = [row for row in rows(copied / RESULTS / "ablation/scores.tsv") if row["variant"] == "wild"]
    assert {(row["status"], row["value"]) for row in wild} == {("diverged", "")}
    assert "diverged" in (copied / RESULTS / "ablation/table.md").read_text(encoding="utf-8")
    assert "diverged" in (copied / RESULTS / "figures/ablation.test.bleu.svg").read_text(encoding="utf-8")


def test_failed_run_is_a_row_with_its_reason_and_other_runs_continue(copied):
    """One training kills itself in each attempt; another one raises an error."""
    with editing(copied) as config:
        config["grid"] |= {"skip_target": [2, 3], "seeds": [1, 2], "allow_missing": 0.5}
        config["ablation"]["variants"] |= {"other": {"training": {"steps": 5}}}
        config["ablation"]["pairs"] = ["en-de"]
        config["execution"] = {"attempts": 2}
    (copied / "src/sitecustomize.py").write_text(BREAKS, encoding="utf-8")  # Python runs it at start
    output = snakemake(copied)
    assert output.count("Trying to restart job") == 4
    grid = {(row["skip_target"], row["seed"]): row for row in rows(copied / RESULTS / "grid/scores.tsv")}
    assert {key: row["status"] for key, row in grid.items()} == {
        ("2", "1"): "ok",
        ("2", "2"): "failed",
        ("3", "1"): "ok",
        ("3", "2"): "ok",
    }
    assert grid["2", "2"]["reason"].startswith("killed, perhaps for lack of memory")
    best = json.loads((copied / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]
    assert (best["skip_target"], [cell["skip_target"] for cell in best["failed"]]) == (3, [2])
    failed = [row for row in rows(copied / RESULTS / "ablation/scores.tsv") if row["status"] == "failed"]
    assert {(row["pair"], row["variant"], row["value"]) for row in failed} == {("en-de", "other", "")}
    assert {row["note"] for row in failed} == {"RuntimeError: CUDA error: an illegal memory access was encountered"}
    assert "–: failed." in (copied / RESULTS / "ablation/table.md").read_text(encoding="utf-8")
    assert "of 1 more a run failed" in (copied / RESULTS / "report.txt").read_text(encoding="utf-8")
    assert planned(copied) == {}


BREAKS = """
import os
import sys

if any(word.endswith(".train.py") for word in sys.orig_argv):
    from skipclm.training import training_job

    run = training_job.run

    def breaking(job, failure=None):
        if "c1-s1-t2/seed2" in job.record and not failure:
            os.kill(os.getpid(), 9)
        if "en-de/other" in job.record and not failure:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\\nand more")
        run(job, failure)

    training_job.run = breaking
"""


def test_translations_of_another_run_are_not_scored(copied):
    run = copied / RESULTS / "ablation/en-de"
    shutil.copyfile(run / "base/seed1/test.hypotheses.txt", run / "full/seed1/test.hypotheses.txt")
    output = snakemake(copied, check=False)
    log = (copied / "logs/tiny/ablation/en-de/full/seed1/test.score.log").read_text(encoding="utf-8")
    assert "expected the 15 translations that this run made" in log
    assert "Error in rule score" in output


def kill_after_first_snapshot(folder, run):
    """Kill a training with SIGKILL as soon as it has a snapshot; return whether it was still running."""
    for _ in range(1200):
        time.sleep(0.05)
        if list((folder / run).glob("snapshots/*/seal.json")) and (running := processes(folder, "train")):
            os.kill(running[0], signal.SIGKILL)
            return True
    return False


def test_killed_training_resumes_with_the_same_result(copied, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # a device for one job; it is free again after the kill
    with editing(copied) as config:
        config["ablation"]["variants"] |= {"long": {"training": {"steps": 150}, "contrastive": {"enabled": False}}}
        config["execution"] = {"snapshot_minutes": 0.001}
    run = RESULTS / "ablation/en-de/long/seed1"
    target = str(run / "history.tsv")
    snakemake(copied, target)
    uninterrupted = without_times(rows(copied / target))
    weights = (copied / run / "model/model.safetensors").read_bytes()
    shutil.rmtree(copied / run)
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_after_first_snapshot, copied, run)
        output = snakemake(copied, target)
    assert killed.result()
    assert "Trying to restart job" in output
    log = (copied / "logs/tiny/ablation/en-de/long/seed1/train.log").read_text(encoding="utf-8")
    assert "leased: device 7" in log
    assert "resumes from" in log
    assert without_times(rows(copied / target)) == uninterrupted
    assert (copied / run / "model/model.safetensors").read_bytes() == weights
    remaining = ["history.tsv", "model", "snapshots", "training.json"]
    assert sorted(path.name for path in (copied / run).iterdir()) == remaining
    assert [path.name for path in (copied / run / "snapshots").iterdir()] == ["train"]


@pytest.fixture
def small_disk(copied):
    """A function that sets the size of the disk below `copied / "results"`, which is empty and has its own disk."""
    shutil.rmtree(copied / "results")
    (copied / "results").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(copied / "results")]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root mounts a disk")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(copied / "results")], check=True)

    yield resize
    subprocess.run(["umount", str(copied / "results")], check=True)


def test_full_disk_is_an_error_and_finished_work_remains(small_disk, copied, finished):
    with editing(copied) as config:
        config["execution"] = {"attempts": 1}  # fewer retries
    small_disk("400k")
    output = snakemake(copied, check=False)
    assert "error: cannot read or write: " in output
    assert "free some space, correct the permissions or repair the disk, and run again" in output
    assert not list((copied / RESULTS).rglob("*.attempt"))
    done = {path: path.stat().st_mtime_ns for path in (copied / RESULTS / "corpus").rglob("*.*")}
    assert all(path.read_bytes() == (finished / path.relative_to(copied)).read_bytes() for path in done)
    small_disk("50m")
    translations = RESULTS / "grid/en-de/c1-s1-t2/seed1/valid.hypotheses.txt"
    snakemake(copied, str(translations))
    assert done == {path: path.stat().st_mtime_ns for path in done} != {}
    assert (copied / translations).read_bytes() == (finished / translations).read_bytes()


def test_read_only_results_folder_is_refused_before_any_job(copied):
    results = copied / "results"
    mount = ["mount", "--bind", "-o", "ro", str(results), str(results)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root mounts a disk")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(results)], check=True)
        assert "expected a folder that can be written to" in snakemake(copied, "--forceall", check=False)
    finally:
        subprocess.run(["umount", str(results)], check=True)
