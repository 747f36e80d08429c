"""Run the trial of the base model (see `trial`) once, in a separate process.

A trial needs the code of translation. Because it is a separate process, an edit of that code does not rerun trainings.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from skipclm.errors import InputError
from skipclm.runtime import atomic, locks, provenance, snapshots


def ensure_tried(base: str | Path, config: dict, record: str | Path) -> None:
    """Try a base model unless the JSON file `record` says that it was tried; one process does it, and others wait.

    `config` comes from `runs.trial_config`. Raises an `InputError` that says what failed, or a `RuntimeError` if the
    process of the trial died. In both cases no record is written.
    """
    facts = {"config": config, "versions": provenance.versions()}
    identity = snapshots.fingerprint(facts, snapshots.model_files(base))
    with locks.exclusive_lock(f"{record}.attempt"):
        if _read_fingerprint(Path(record)) != identity:
            atomic.write_json(record, {"fingerprint": identity, "tried": _run_trial(base, config)})


def _read_fingerprint(record: Path) -> str | None:
    """Return the fingerprint of the last trial; None if there is none, or if its record is damaged."""
    try:
        return atomic.read_record(record, fingerprint=str)["fingerprint"]
    except (FileNotFoundError, InputError):
        return None


def _run_trial(base: str | Path, config: dict) -> list[str]:
    """Run `trial.main` in another process; return the names of the tried runs."""
    with tempfile.TemporaryDirectory() as folder:
        atomic.write_json(Path(folder, "trial.json"), {"base": str(base), "config": config})
        status = subprocess.run([sys.executable, "-P", "-m", "skipclm.training.trial", folder]).returncode
        if status:
            raise RuntimeError(f"the trial of the base model ended with status {status}; the log above says why")
        outcome = atomic.read_json(Path(folder, "outcome.json"))
    if "error" in outcome:
        raise InputError(outcome["error"])
    return outcome["tried"]
