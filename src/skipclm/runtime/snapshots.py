"""Snapshots of a training, and stored outputs of finished jobs: after an interrupt, no work is done twice.

Both are in a folder that no rule declares as output, so Snakemake does not delete them. Each has a manifest file
(seal.json) with the digests of its files, by which damage is detected, and the fingerprint of the job, by which changed
settings, data or code are detected.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from skipclm.runtime import atomic, provenance

SEAL = "seal.json"
FOLDER = "snapshots"  # in the folder of a run
TRAINING = "train"  # in FOLDER: the stored outputs of the training; those of a translation have the name of its split
PROGRESS = "progress.json"  # in FOLDER: the current step of the training


def fingerprint(facts: dict, files: Iterable[str | Path]) -> str:
    """Return a digest of the facts that determine a job, such as settings, and of the files that it reads."""
    digests = [atomic.sha256(path) for path in files]
    return hashlib.sha256(json.dumps([facts, digests], sort_keys=True).encode()).hexdigest()


def model_files(folder: str | Path) -> list[Path]:
    """Return the files of a model in order, without those that contain times."""
    dated = (provenance.RECORD, "history.tsv")
    return [path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.name not in dated]


def store(outputs: Sequence[Path], folder: Path, fingerprint: str) -> None:
    """Store the outputs of a finished job (files and folders) as hard links until `release`.

    Snakemake deletes the outputs if another job in the same cluster job fails. Does nothing if another job releases the
    folder at the same time.
    """
    with suppress(FileNotFoundError), atomic.new_folder(folder) as unfinished:
        for path in outputs:
            _link(path, unfinished / path.name)
        _write_seal(unfinished, fingerprint)


def restore(outputs: Sequence[Path], folder: Path, fingerprint: str) -> bool:
    """Restore the stored outputs; return False if there are none, or if they are damaged or of another job."""
    if _fault(folder, fingerprint):
        return False
    for path in outputs:
        _link(folder / path.name, path)
    print("was done before")
    return True


def release(folder: Path, splits: list[str], keep_weights: bool = True) -> None:
    """Remove the snapshots in the folder of a run when all its splits have been scored after its training.

    The model is removed as well unless `keep_weights` is set or an earlier release kept it. For Snakemake it is
    temporary, but Snakemake removes it only after the choice of the best cell.
    """
    scores, trained = [folder / f"{split}.scores.json" for split in splits], folder / "training.json"
    since = trained.stat().st_mtime if trained.exists() else 0.0
    if all(path.exists() and path.stat().st_mtime >= since for path in scores):
        if not keep_weights and (folder / FOLDER / TRAINING).exists():
            shutil.rmtree(folder / "model", ignore_errors=True)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


class Snapshots:
    """The snapshots of one training in a folder. Only the last two complete snapshots are kept.

    A new snapshot is due `minutes` after the last one.
    """

    def __init__(self, folder: str | Path, fingerprint: str, minutes: float = 10.0) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.minutes = minutes

    def seal(self, snapshot: Path) -> None:
        """Flush a snapshot to the disk, mark it as complete, and remove those before the last two complete ones."""
        atomic.flush(snapshot)
        _write_seal(snapshot, self.fingerprint)
        complete = [path for path in self._all() if _is_sealed(path) and _step(path) <= _step(snapshot)]
        for path in set(self._all()) - set(complete[-2:]):
            shutil.rmtree(path)

    def _all(self) -> list[Path]:
        """Return all snapshots, complete or not, in the order of their steps."""
        return sorted(self.folder.glob("checkpoint-*"), key=_step)

    def newest(self) -> Path | None:
        """Return the newest complete snapshot of this training; print why newer ones are not used."""
        for path in reversed(self._all()):
            fault = _fault(path, self.fingerprint)
            if fault is None:
                print(f"resumes from {path}")
                return path
            print(f"{path} is not used: {fault}")
            if not _is_sealed(path):  # it needs room on the disk and is of no use
                shutil.rmtree(path, ignore_errors=True)
        return None

    def remove_unfinished(self) -> None:
        """Remove the snapshots that were not written to the end."""
        for path in self._all():
            if not _is_sealed(path):
                shutil.rmtree(path, ignore_errors=True)

    def remove(self) -> None:
        """Remove all snapshots, and the folder unless it holds stored outputs."""
        for path in self._all():
            shutil.rmtree(path)
        (self.folder / PROGRESS).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def last_step(folder: Path) -> int:
    """Return the step of the last complete snapshot in a folder, of any training; 0 if there is none."""
    return max((_step(seal.parent) for seal in folder.glob(f"checkpoint-*/{SEAL}")), default=0)


def _link(path: Path, new: Path) -> None:
    """Link a file, or a folder with all its files, to a new place."""
    if path.is_file():
        atomic.link(path, new)
        return
    with atomic.new_folder(new) as folder:
        for file in path.rglob("*"):
            if file.is_file():
                atomic.link(file, folder / file.relative_to(path))


def _write_seal(folder: Path, fingerprint: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    digests = {str(path.relative_to(folder)): atomic.sha256(path) for path in files}
    atomic.write_json(folder / SEAL, {"fingerprint": fingerprint, "files": digests})


def _is_sealed(folder: Path) -> bool:
    return (folder / SEAL).is_file()


def _fault(folder: Path, fingerprint: str) -> str | None:
    """Return why a sealed folder cannot be used, or None if it can."""
    if not _is_sealed(folder):
        return "it was not written to the end"
    try:
        seal = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        digests, sealed_fingerprint = seal["files"], seal["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return "its seal is damaged"
    if sealed_fingerprint != fingerprint:
        return "it has other settings, data or code"
    for name, digest in digests.items():
        try:
            if atomic.sha256(folder / name) != digest:
                return f"{name} is damaged"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def _step(snapshot: Path) -> int:
    number = snapshot.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
