"""The complete workflow with profiles/slurm on a Slurm that the tests start, with cancelled and signalled jobs."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import slurm
from workflows import RESULTS, compare, editing, environment, make_copy, results, rows, snakemake, without_times

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not slurm.is_possible(), reason="needs slurm-wlm and munge, and the right to set them up"),
]

# sacct is installed too, but has no accounting database.
OPTIONS = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
OPTIONS += ["--seconds-between-status-checks", "2"]
# The same threads as in the local run: with other numbers, sums are computed in another order.
OPTIONS += ["--set-threads", "prepare_base=2", "train_cell=1", "train_variant=1", "translate=1"]


@pytest.fixture
def cluster(tmp_path):
    with slurm.Slurm(tmp_path / "slurm") as running:
        yield running


@contextmanager
def _submitting(folder, *arguments):
    """Start the workflow on the cluster; at the end, check that it succeeded and that a job was restarted."""
    command = [sys.executable, "-P", "-m", "snakemake", *arguments, "--profile", "profiles/slurm", *OPTIONS]
    with open(folder / "log", "wb") as log:
        options = {"cwd": folder, "env": environment(folder), "stdout": log, "stderr": log}
        process = subprocess.Popen(command, **options)
        try:
            yield process
            assert process.wait(timeout=3600) == 0, (folder / "log").read_text()
        finally:
            process.kill()
    assert "Trying to restart" in (folder / "log").read_text()


def _wait_for(cluster, process, run):
    """Wait until the Slurm job of a run is running; return its job id."""
    while process.poll() is None:
        for number, comment in cluster.running().items():
            if run in comment:
                return number
        time.sleep(0.1)
    raise AssertionError(f"the job of {run} did not run")


def _run_with_failures(cluster, folder, run, *arguments):
    """Run the workflow on the cluster while a job is cancelled and a node is drained."""
    with _submitting(folder, *arguments) as process:
        cluster.ask("scancel", _wait_for(cluster, process, run))
        cluster.ask("scontrol", "update", "NodeName=node2", "State=DRAIN", "Reason=test")
    assert cluster.states()["node2"].startswith("drain")


def test_cluster_and_local_results_are_the_same(cluster, finished, tmp_path):
    folder = make_copy(tmp_path / "copy")
    _run_with_failures(cluster, folder, "en-de.c1-s1-t2.seed1", "--configfile", "tiny.yaml")
    compare(results(folder), results(finished))


@pytest.mark.skipif("WHOLE" not in os.environ, reason="WHOLE=1 make test-slurm: half an hour")
def test_cluster_and_local_results_are_the_same_in_the_default_experiment(cluster, tmp_path):
    here, there = make_copy(tmp_path / "here"), make_copy(tmp_path / "there")
    snakemake(here, "--configfile", "config.yaml")
    _run_with_failures(cluster, there, "en-de.c1-s1-t3.seed1")
    compare(results(there, "demo"), results(here, "demo"))


def test_job_near_its_time_limit_resumes_from_a_snapshot(cluster, copied, tmp_path):
    with editing(copied) as config:
        config["ablation"]["variants"] |= {"long": {"training": {"steps": 300}, "contrastive": {"enabled": False}}}
    run = RESULTS / "ablation/en-de/long/seed1"
    snakemake(copied, target := str(run / "training.json"))
    uninterrupted = without_times(rows(copied / run / "history.tsv"))
    weights = (copied / run / "model/model.safetensors").read_bytes()
    shutil.rmtree(copied / run)
    log = copied / "logs/tiny/ablation/en-de/long/seed1/train.log"
    log.unlink()
    with _submitting(copied, target, "--configfile", "tiny.yaml") as process:
        number = _wait_for(cluster, process, "en-de.long.seed1")
        while not (log.exists() and "step/s, loss" in log.read_text()):
            assert process.poll() is None, (copied / "log").read_text()
            time.sleep(0.1)
        cluster.ask("scancel", "--signal=TERM", number)  # as Slurm does for --signal
    assert "resumes from" in log.read_text()
    assert without_times(rows(copied / run / "history.tsv")) == uninterrupted
    assert (copied / run / "model/model.safetensors").read_bytes() == weights
