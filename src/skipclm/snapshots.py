"""Snapshots of a training under way, from which it goes on after whatever ended it.

They lie outside what a job declares as its output, so that Snakemake leaves them alone. Each is sealed: the seal holds
digests of all its files, so that a torn one is told, and the fingerprint of the training, so that one of other
settings, data or code is.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from skipclm import provenance

SEAL = "seal.json"
FOLDER = "snapshots"  # in that of a run


def fingerprint(facts: dict, files: Iterable[str | Path]) -> str:
    """Return a digest of what decides a training: settings and the like, and the contents of the files it reads."""
    digests = [provenance.sha256(path) for path in files]
    return hashlib.sha256(json.dumps([facts, digests], sort_keys=True).encode()).hexdigest()


def release(folder: Path, splits: list[str]) -> None:
    """Remove the snapshots of a run, which lie in its folder, once all its splits are scored."""
    if all((folder / f"{split}.scores.json").exists() for split in splits):
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


class Snapshots:
    """The snapshots of one training, in a folder of their own; the last two are kept."""

    def __init__(self, folder: str | Path, fingerprint: str, minutes: float = 10.0) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.minutes = minutes  # from one to the next

    def seal(self, snapshot: Path) -> None:
        """Declare a snapshot whole: all its files are on the disk from then on."""
        files = sorted(path for path in snapshot.rglob("*") if path.is_file() and path.name != SEAL)
        for path in [*files, snapshot]:
            _flush(path)
        digests = {str(path.relative_to(snapshot)): provenance.sha256(path) for path in files}
        provenance.write_json(snapshot / SEAL, {"fingerprint": self.fingerprint, "files": digests})

    def newest(self) -> Path | None:
        """Return the newest snapshot that is whole and of this very training; say why others are not used."""
        for snapshot in sorted(self.folder.glob("checkpoint-*"), key=_step, reverse=True):
            fault = self._fault(snapshot)
            if fault is None:
                print(f"goes on from {snapshot}")
                return snapshot
            print(f"{snapshot} is not used: {fault}")
        return None

    def _fault(self, snapshot: Path) -> str | None:
        """Say what is wrong with a snapshot, if anything is."""
        if not (snapshot / SEAL).is_file():
            return "it was not written to the end"
        try:
            seal = json.loads((snapshot / SEAL).read_text(encoding="utf-8"))
            expected, of = seal["files"], seal["fingerprint"]
        except (ValueError, KeyError, TypeError):
            return "its seal is broken"
        if of != self.fingerprint:
            return "it is of other settings, data or code"
        for name, digest in expected.items():
            if not (snapshot / name).is_file() or provenance.sha256(snapshot / name) != digest:
                return f"{name} is not as it was written"
        return None

    def remove(self) -> None:
        """Remove all of them: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _step(snapshot: Path) -> int:
    number = snapshot.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _flush(path: Path) -> None:
    """Have the system write a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
