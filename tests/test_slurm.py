"""The whole graph through profiles/slurm, on a Slurm that the test starts, with a job cancelled and a node drained."""

import subprocess
import sys
import time

import pytest
import slurm
from workflows import RESULTS, environment, make_copy, rows, without_clocks

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not slurm.is_possible(), reason="needs slurm-wlm and munge, and the right to set them up"),
]

# sacct is there as well, but has nothing to go by.
OPTIONS = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
OPTIONS += ["--seconds-between-status-checks", "2"]
# As here: other numbers of threads sum in other orders.
OPTIONS += ["--set-threads", "prepare_base=2", "train_cell=1", "train_variant=1", "translate=1"]


@pytest.fixture
def cluster(tmp_path):
    with slurm.Slurm(tmp_path / "slurm") as running:
        yield running


def _wait_for_a_training(cluster, process):
    """Return the number of a job of Slurm that trains."""
    while process.poll() is None:
        for number, what in cluster.running().items():
            if "run" in what:
                return number
        time.sleep(0.1)
    raise AssertionError("no training was seen")


def test_a_cluster_gives_the_tables_that_this_machine_gives(cluster, finished, tmp_path):
    folder = make_copy(tmp_path / "copy")
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--configfile", "tiny.yaml", *OPTIONS]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)
        try:
            cluster.ask("scancel", _wait_for_a_training(cluster, process))
            cluster.ask("scontrol", "update", "NodeName=node2", "State=DRAIN", "Reason=test")
            assert process.wait(timeout=900) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()
    said = (tmp_path / "log").read_text()
    assert "Trying to restart" in said
    assert cluster.states()["node2"].startswith("drain")
    for name in ("grid/scores.tsv", "grid/cells.tsv", "ablation/scores.tsv", "ablation/significance.tsv"):
        there, here = (without_clocks(rows(place / RESULTS / name)) for place in (folder, finished))
        assert there == here
    there, here = ((place / RESULTS / "ablation/table.md").read_bytes() for place in (folder, finished))
    assert there == here
