"""Snapshots of a training, from which it resumes after an interrupt.

Snapshots are no declared output of a job, so Snakemake does not touch them. Each snapshot has a seal: digests of all
its files, which reveal a damaged snapshot, and the fingerprint of the training, which reveals other settings, data or
code.
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
DONE = "train"  # in FOLDER: the results of a finished training, until `release`
PROGRESS = "progress.json"  # in FOLDER: the current step of a training


def fingerprint(facts: dict, files: Iterable[str | Path]) -> str:
    """Return a digest of the facts that determine a training, such as settings, and of the files that it reads."""
    digests = [atomic.sha256(path) for path in files]
    return hashlib.sha256(json.dumps([facts, digests], sort_keys=True).encode()).hexdigest()


def model_files(folder: str | Path) -> list[Path]:
    """Return the files of a model in order, without those that contain times."""
    dated = (provenance.RECORD, "history.tsv")
    return [path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.name not in dated]


def release(folder: Path, splits: list[str], keep_weights: bool = True) -> None:
    """Remove the snapshots in the folder of a run when all its splits have been scored after its training.

    The model is removed as well unless `keep_weights` is set or an earlier release kept it. For Snakemake it is
    temporary, but Snakemake removes it only after the choice of the best cell.
    """
    scores, trained = [folder / f"{split}.scores.json" for split in splits], folder / "training.json"
    since = trained.stat().st_mtime if trained.exists() else 0.0
    if all(path.exists() and path.stat().st_mtime >= since for path in scores):
        if not keep_weights and (folder / FOLDER / DONE).exists():
            shutil.rmtree(folder / "model", ignore_errors=True)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


def keep(files: Sequence[Path], folder: Path, fingerprint: str) -> None:
    """Keep the outputs of a finished job in a folder among the snapshots, as hard links, until `release`.

    Snakemake deletes the outputs if another job in the same cluster job fails. Does nothing if another job releases the
    folder at the same time.
    """
    with suppress(FileNotFoundError), atomic.new_folder(folder) as inside:
        for path in files:
            atomic.link(path, inside / path.name)
        _write_seal(inside, fingerprint)


def recall(files: Sequence[Path], folder: Path, fingerprint: str) -> bool:
    """Restore the outputs that `keep` stored if they are whole and have the same fingerprint; return whether so."""
    if _fault(folder, fingerprint):
        return False
    for path in files:
        atomic.link(folder / path.name, path)
    return True


class Snapshots:
    """The snapshots of one training in a folder; the last two whole snapshots are kept."""

    def __init__(self, folder: str | Path, fingerprint: str, minutes: float = 10.0) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.minutes = minutes  # from one to the next

    def seal(self, snapshot: Path) -> None:
        """Declare a snapshot whole: all its files are on the disk from then on. All but the one before it go."""
        atomic.flush(snapshot)
        _write_seal(snapshot, self.fingerprint)
        self._remove_all_but_two(_step(snapshot))

    def _remove_all_but_two(self, step: int) -> None:
        """Remove all snapshots but the last two that are whole and not beyond a step."""
        found = self._found()
        whole = [snapshot for snapshot in found if (snapshot / SEAL).is_file() and _step(snapshot) <= step]
        for snapshot in set(found) - set(whole[-2:]):
            shutil.rmtree(snapshot)

    def _found(self, reverse: bool = False) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"), key=_step, reverse=reverse)

    def newest(self) -> Path | None:
        """Return the newest snapshot that is whole and of this very training; say why others are not used."""
        for snapshot in self._found(reverse=True):
            fault = _fault(snapshot, self.fingerprint)
            if fault is None:
                print(f"goes on from {snapshot}")
                return snapshot
            print(f"{snapshot} is not used: {fault}")
            if not (snapshot / SEAL).is_file():  # it takes room, of which there may be little
                shutil.rmtree(snapshot, ignore_errors=True)
        return None

    def remove(self) -> None:
        """Remove all of them: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write_seal(folder: Path, fingerprint: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    digests = {str(path.relative_to(folder)): atomic.sha256(path) for path in files}
    atomic.write_json(folder / SEAL, {"fingerprint": fingerprint, "files": digests})


def _fault(folder: Path, fingerprint: str) -> str | None:
    """Say what is wrong with what was sealed, if anything is."""
    if not (folder / SEAL).is_file():
        return "it was not written to the end"
    try:
        seal = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        expected, of = seal["files"], seal["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return "its seal is broken"
    if of != fingerprint:
        return "it is of other settings, data or code"
    for name, digest in expected.items():
        try:
            if atomic.sha256(folder / name) != digest:
                return f"{name} is not as it was written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def furthest(folder: Path) -> int:
    """Return the step of the furthest snapshot in a folder that was written to the end, of whatever training; or 0."""
    return max((_step(seal.parent) for seal in folder.glob(f"checkpoint-*/{SEAL}")), default=0)


def _step(snapshot: Path) -> int:
    number = snapshot.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
