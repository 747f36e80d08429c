"""Write results whole or not at all, and record what made them."""

import ast
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from skipclm import checkout
from skipclm.errors import InputError

RECORD = "skipclm.json"  # beside a model: how it was made
# For every Python that is started by `-m`, which would otherwise look for modules in the working folder first.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}


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


def share_package() -> None:
    """Let jobs import this package in environments that hold its dependencies only, as --sdm conda makes them.

    And let no job import a module from the folder that it starts in, where a user may have a random.py.
    """
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, places)), **SAFE_PATH}


def environment() -> dict:
    """Return what a number depends on besides its inputs: code version, libraries, machine and time."""
    return {
        **checkout.version(),
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "torch": _torch_device(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of what computes."""
    libraries = ("skipclm", "torch", "transformers", "tokenizers", "sacrebleu", "numpy")
    return {name: _version(name) for name in libraries} | {"python": platform.python_version()}


def _torch_device() -> dict | None:
    """Return what torch computes with, which decides the last digits; None where the job has no use for torch."""
    torch = sys.modules.get("torch")  # asked, not imported: that takes seconds
    if torch is None:
        return None
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"threads": torch.get_num_threads(), "accelerator": name}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # this package need not be installed: the workflow puts it on the path
        return None


def code_digest(script: str | Path) -> str:
    """Return a digest of a script and of every module of this package that it imports, directly or not.

    Snakemake sees an edited script but not an edited module. The digest is of the text, so that a touched file or
    another checkout changes nothing.
    """
    package = Path(__file__).parent
    found, queue = set(), [Path(script)]
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            modules = (package / f"{name}.py" for name in _imported_modules(path.read_text(encoding="utf-8")))
            queue += [module for module in modules if module.is_file()]  # other names are not modules
    return text_digest(found)


def text_digest(paths: Iterable[Path]) -> str:
    """Return a digest of the names and texts of files, in whatever order they are given."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(f"{path.name}\n{path.read_text(encoding='utf-8')}".encode())
    return digest.hexdigest()[:16]


def _imported_modules(code: str) -> set[str]:
    """Return the modules of this package that a piece of code imports."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.level:
            names.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.module == "skipclm":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skipclm."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("skipclm.")}
    return names
