"""Read and write files; a file or folder is written completely or not at all."""

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
    """Yield a temporary file beside `path`; if the block succeeds, flush it and rename it to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        temporary.chmod(0o666 & ~_umask())  # mkstemp sets private permissions
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8."""
    with new_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON. Raises a `ValueError` for NaN, which is not valid JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises an `InputError` if it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found {error}; make the file again") from error


def read_record(path: str | Path, **types: type) -> dict:
    """Read a JSON object, with the expected types of values by key.

    Raises an `InputError` if a key or type is different: the file is damaged, or another version wrote it.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a JSON object, found another value; make the file again")
    for key, expected_type in types.items():
        if not isinstance(record.get(key), expected_type):
            raise InputError(
                f"{path}: expected a record that this version can read, found no {key} of type "
                f"{expected_type.__name__}; make the file again, or use the version that wrote it"
            )
    return record


def write_lines(path: str | Path, lines: list[str]) -> None:
    """Write one line per string. Raises a `ValueError` for a string with a line break."""
    for number, line in enumerate(lines, start=1):
        if "\n" in line or "\r" in line:
            raise ValueError(f"{path}: expected no line break in line {number}, found {line!r}")
    write_text(path, "".join(f"{line}\n" for line in lines))


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; if the block succeeds, flush it and rename it to `path`.

    Temporary folders of killed jobs are removed first. Two jobs must not create the same folder at the same time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        for entry in (temporary, *temporary.rglob("*")):  # mkdtemp and safetensors set private permissions
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~_umask())
        flush(temporary)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def flush(path: Path) -> None:
    """Write a file, or a folder with all its contents, from the memory of the system to the disk."""
    for entry in (path, *path.rglob("*")):
        handle = os.open(entry, os.O_RDONLY)
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
    """Make a hard link to a file, or a copy if the disk has no hard links."""
    new.parent.mkdir(parents=True, exist_ok=True)
    new.unlink(missing_ok=True)
    try:
        os.link(path, new)
    except OSError:
        with new_file(new) as temporary:
            shutil.copyfile(path, temporary)
