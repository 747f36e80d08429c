"""The record of one invocation of Snakemake: the plan that all its jobs follow.

On a cluster, each job is a Snakemake process that reads Snakefile and configuration again, perhaps hours after it was
submitted. The main process therefore writes its plan to a file, and names the file in an environment variable that jobs
inherit. It holds a lock on the file while it runs. The next main process removes the records of invocations that have
ended, so that their queued jobs do not overwrite its results.
"""

import json
import os
from pathlib import Path
from typing import IO

from skipclm.errors import InputError
from skipclm.runtime import atomic, code_digest, locks
from skipclm.runtime.job_environment import INVOCATION

# The open record of this process. An open file keeps its lock until the process ends.
_open_records: list[IO] = []


def begin(planned: dict) -> None:
    """Write the record of this invocation, lock it, and remove the records of invocations that have ended."""
    path = Path(os.environ[INVOCATION])
    with atomic.new_file(path) as temporary:
        file = open(temporary, "r+", encoding="utf-8")  # noqa: SIM115
        _open_records.append(file)
        # Before the file gets its final name: without a lock, other processes take this invocation as ended.
        locks.try_lock(file)
        json.dump(planned, file, ensure_ascii=False, allow_nan=False)
        file.flush()
    for other in path.parent.glob("[!.]*.json"):
        if other != path and not locks.is_locked(other):
            other.unlink(missing_ok=True)


def read() -> dict:
    """Return the plan of the main process of this job.

    Raises an `InputError` if there is no record, or if a later invocation removed it.
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


def read_plan(rules: str) -> dict:
    """Return the plan of the main process of this job; `rules` is the digest of the current rules.

    Raises the errors of `read`, and an `InputError` if the rules have changed since.
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
    if not code_digest.is_current(script, planned):
        raise InputError(
            f"expected the code of {Path(script).name} as it was when this job was planned, found that the script or "
            "a module that it imports was edited since; start Snakemake again"
        )
