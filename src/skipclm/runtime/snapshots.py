"""Snapshots of a training under way, from which it goes on after whatever ended it.

They lie outside what a job declares as its output, so that Snakemake leaves them alone. Each is sealed: the seal holds
digests of all its files, so that a torn one is told, and the fingerprint of the training, so that one of other
settings, data or code is.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from skipclm.runtime import atomic, provenance

SEAL = "seal.json"
DONE = "train"  # among the snapshots: what a training has made, from its end to `release`
FOLDER = "snapshots"  # in that of a run
PROGRESS = "progress.json"  # among the snapshots: at which step a training is


def fingerprint(facts: dict, files: Iterable[str | Path]) -> str:
    """Return a digest of what decides a training: settings and the like, and the contents of the files it reads."""
    digests = [atomic.sha256(path) for path in files]
    return hashlib.sha256(json.dumps([facts, digests], sort_keys=True).encode()).hexdigest()


def model_files(folder: str | Path) -> list[Path]:
    """Return the files that make a model, in order, without those that hold times."""
    dated = (provenance.RECORD, "history.tsv")
    return [path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.name not in dated]


def release(folder: Path, splits: list[str], keep_weights: bool = True) -> None:
    """Remove the snapshots of a run, which lie in its folder, once all its splits are scored since it was trained.

    And its model, unless weights are to be kept, or were since an earlier release: Snakemake, to which it is temporary,
    removes nothing before the grid's best cell is chosen.
    """
    scores, trained = [folder / f"{split}.scores.json" for split in splits], folder / "training.json"
    since = trained.stat().st_mtime if trained.exists() else 0.0
    if all(path.exists() and path.stat().st_mtime >= since for path in scores):
        if not keep_weights and (folder / FOLDER / DONE).exists():
            shutil.rmtree(folder / "model", ignore_errors=True)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


def keep(files: Sequence[Path], folder: Path, fingerprint: str) -> None:
    """Keep what a job has made in a folder among the snapshots, without room of its own, until `release`.

    Snakemake throws all away if a job fails that shares one of the cluster's with it. Does nothing if another job
    releases the folder meanwhile.
    """
    with suppress(FileNotFoundError), atomic.new_folder(folder) as inside:
        for path in files:
            atomic.link(path, inside / path.name)
        _write_seal(inside, fingerprint)


def recall(files: Sequence[Path], folder: Path, fingerprint: str) -> bool:
    """Put back what was kept, if it is whole and of the same fingerprint; return whether it was."""
    if _fault(folder, fingerprint):
        return False
    for path in files:
        atomic.link(folder / path.name, path)
    return True


class Snapshots:
    """The snapshots of one training, in a folder of their own; the last two that are whole are kept."""

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
