"""The environment variables that the workflow sets for its jobs, each with its reason."""

import os
import uuid
from pathlib import Path

from skipclm.runtime import devices
from skipclm.runtime.checkout import PACKAGE

# The record of the invocation of Snakemake (see `invocation`).
INVOCATION = "SKIPCLM_INVOCATION"
# The GPUs per job. A job on a cluster must request the same number on a node with more GPUs.
GPUS = "SKIPCLM_GPUS"
# The Python of the workflow, for shell commands. It is not a parameter of the rules, because then a change of the
# Python path would cause reruns.
PYTHON = "SKIPCLM_PYTHON"
# Without this, `python -m` imports modules from the working folder first, where a user may have a random.py.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
# Threads that wait for each other sleep after a short time. On a busy machine, threads that spin take the cores from
# other processes. Threads that sleep at once lose more than half of the speed on an idle machine (bench/threads.py).
SPINS = {"GOMP_SPINCOUNT": "1000"}

FOLDER = "invocations"  # in the folder of the logs


def set_variables(python: str) -> int:
    """Set the variables that all jobs inherit; return the number of GPUs per job.

    With them, jobs can import this package in environments that contain only its dependencies, as with --sdm conda.
    """
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), PYTHON: python, **SAFE_PATH}
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ |= {name: os.environ.get(name, value) for name, value in SPINS.items()}
    return int(os.environ.setdefault(GPUS, str(min(1, len(devices.visible())))))


def set_invocation(logs: str | Path) -> None:
    """Choose the file for the record of this invocation of Snakemake, and set its variable."""
    os.environ[INVOCATION] = str(Path(logs) / FOLDER / f"{uuid.uuid4()}.json")
