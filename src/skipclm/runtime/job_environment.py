"""The environment variables that the workflow sets for its jobs, each with its reason."""

import os
import uuid
from pathlib import Path

from skipclm.runtime import devices
from skipclm.runtime.checkout import PACKAGE

# The file that says what the main Snakemake has planned (see `invocation`): a job on a cluster reads the rules again.
INVOCATION = "SKIPCLM_INVOCATION"
# How many GPUs a job asks for: a job on a cluster asks for no more on a node that has more.
GPUS = "SKIPCLM_GPUS"
# The interpreter of the workflow, for shell commands. As a parameter of a rule it would cause reruns when it changes.
PYTHON = "SKIPCLM_PYTHON"
# A Python that is started by `-m` looks for modules in the working folder first, where a user may have a random.py.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
# Threads that wait for each other sleep soon. On a busy machine, threads that spin take the cores from other processes;
# to sleep at once costs more than half of the speed on an idle machine (bench/threads.py).
SPINS = {"GOMP_SPINCOUNT": "1000"}

FOLDER = "invocations"  # of the records, among the logs of an experiment


def set_variables(python: str) -> int:
    """Set what all jobs inherit; return how many GPUs a job asks for.

    Jobs can import this package in environments that hold its dependencies only, as --sdm conda makes them.
    """
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), PYTHON: python, **SAFE_PATH}
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ |= {name: os.environ.get(name, value) for name, value in SPINS.items()}
    return int(os.environ.setdefault(GPUS, str(min(1, len(devices.visible())))))


def set_invocation(logs: str | Path) -> None:
    """Choose the file in which this start of Snakemake records what it plans, and tell jobs."""
    os.environ[INVOCATION] = str(Path(logs) / FOLDER / f"{uuid.uuid4()}.json")
