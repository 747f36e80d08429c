"""Read and write files; what is written is whole or not there at all."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skipclm.errors import InputError


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` that is flushed and renamed to it only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        temporary.chmod(0o666 & ~_umask())  # mkstemp hides files from the group
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN is refused, since other readers cannot parse it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read one JSON file; raises an `InputError` if it holds something else."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found {error}; make the file anew") from error


def read_record(path: str | Path, **types: type) -> dict:
    """Read a JSON object that has values of these types under these keys.

    Raises an `InputError` that names the file if it does not: it is damaged, or another version wrote it.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a JSON object, found another value; make the file anew")
    for key, wanted in types.items():
        if not isinstance(record.get(key), wanted):
            raise InputError(
                f"{path}: expected a record that this version can read, found no {key} in it, or another kind of value "
                "there; make the file anew, or use the version that wrote it"
            )
    return record


def write_lines(path: str | Path, lines: list[str]) -> None:
    """Write one line per string; a string that itself holds a line break is refused."""
    for number, line in enumerate(lines, start=1):
        if "\n" in line or "\r" in line:
            raise ValueError(f"{path}, line {number} would hold a line break: {line!r}")
    write_text(path, "".join(f"{line}\n" for line in lines))


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that is flushed and takes its name only if the block succeeds.

    What a job that was killed left of an earlier try goes first; two jobs never make the same folder at a time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        for place in (temporary, *temporary.rglob("*")):  # neither mkdtemp nor safetensors lets the group read
            place.chmod((0o777 if place.is_dir() else 0o666) & ~_umask())
        flush(temporary)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def flush(path: Path) -> None:
    """Have the system write a file, or a folder with all that is in it, to the disk."""
    for place in (path, *path.rglob("*")):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def link(path: Path, new: Path) -> None:
    """Give a file a second name, or copy it where that cannot be."""
    new.parent.mkdir(parents=True, exist_ok=True)
    new.unlink(missing_ok=True)
    try:
        os.link(path, new)
    except OSError:
        with new_file(new) as temporary:
            shutil.copyfile(path, temporary)
