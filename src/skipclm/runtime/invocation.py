"""What one start of Snakemake has planned, recorded in a file that all its jobs follow.

A job on a cluster is a Snakemake process of its own: it reads Snakefile and configuration again, perhaps hours after it
was submitted. The main process writes what it has planned to a file, names the file in an environment variable that
jobs inherit, and holds a lock on it as long as it runs. The next main process removes the files of those that have
ended, so that their jobs, still in a queue perhaps, do not overwrite what it makes.
"""

import json
import os
from pathlib import Path
from typing import IO

from skipclm.errors import InputError
from skipclm.runtime import atomic, code_digest, locks
from skipclm.runtime.job_environment import INVOCATION

# The open record of this process; the lock on it lasts until the process ends.
_held: list[IO] = []


def begin(planned: dict) -> None:
    """Write the record of this invocation, lock it, and remove the records of invocations that have ended."""
    path = Path(os.environ[INVOCATION])
    with atomic.new_file(path) as temporary:
        file = open(temporary, "r+", encoding="utf-8")  # noqa: SIM115
        _held.append(file)
        locks.try_lock(file)  # before it has its name, so that nobody takes it for one that has ended
        json.dump(planned, file, ensure_ascii=False, allow_nan=False)
        file.flush()
    for other in path.parent.glob("[!.]*.json"):
        if other != path and not locks.is_locked(other):
            other.unlink(missing_ok=True)


def read() -> dict:
    """Return what the main process of this job has planned.

    Raises an `InputError` if that is not known, or if the invocation was replaced.
    """
    if INVOCATION not in os.environ:
        raise InputError(
            f"expected the environment variable {INVOCATION} of the Snakemake that submitted this job, found none; let "
            "the cluster pass environment variables to its jobs"
        )
    path = Path(os.environ[INVOCATION])
    if not path.exists():
        raise InputError(
            f"expected {path}, which says what was planned, found none: another Snakemake was started after the one "
            "that submitted this job had ended, or that one had --no-hooks; this job does nothing"
        )
    return atomic.read_json(path)


def planned(rules: str) -> dict:
    """Return what `read` does; `rules` is the digest of the rules as they are now.

    Raises an `InputError` where `read` does, and if the rules have changed.
    """
    plan = read()
    if plan["rules"] != rules:
        raise InputError(
            "expected the Snakefile and workflow/rules as they were when this job was planned, found that they were "
            "edited since; start Snakemake again"
        )
    return plan


def check_code(script: str | Path, planned: str) -> None:
    """Raise an `InputError` unless a script and the modules that it imports still have the planned digest."""
    if code_digest.code_digest(script) != planned:
        raise InputError(
            f"expected the code of {Path(script).name} as it was when this job was planned, found that the script or "
            "a module that it imports was edited since; start Snakemake again"
        )
