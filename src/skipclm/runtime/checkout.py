"""The version of the running code: its commit and a digest of its text."""

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CODE = ("Snakefile", "config.yaml", "resources", "src", "workflow")  # uncommitted changes here make a commit dirty
TIMEOUT = 60  # seconds for git


@cache
def version() -> dict[str, str]:
    """Return the `commit` and the `code` digest of this package at the time of the first call.

    A job calls this when it starts, because the code may be edited or committed while it runs.
    """
    return {"commit": commit(), "code": digest()}


def commit() -> str:
    """Return the commit of the checkout of this package, or a reason, such as "none (git is not installed)".

    The commit ends in "-dirty" if files of `CODE` differ from it. A different repository that contains the package, or
    that a variable such as GIT_DIR names, is ignored.
    """
    root = PACKAGE.parents[1]
    try:
        answer = _git(PACKAGE, "rev-parse", "--show-toplevel", "HEAD", "HEAD:./")  # the last is the package at HEAD
        if not answer.stdout:
            return f"none ({_why_no_repository(answer.stderr)})"
        top, *objects = answer.stdout.splitlines()
        if not os.path.samefile(top, root):
            return "none (the git repository around the package is not the package's own)"
        if answer.returncode:
            return "none (the package is not committed in its git repository)"
        changed = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *CODE)
    except FileNotFoundError:
        return "none (git is not installed)"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"none (git cannot be run: {error})"
    if changed.returncode:
        return f"{objects[0]}, perhaps changed ({_last_line(changed.stderr)})"
    return objects[0] + ("-dirty" if changed.stdout else "")


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run git in a folder, with English messages and without variables that name another repository."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # without locks: jobs run side by side
        env=variables | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=TIMEOUT,
        check=False,
    )


def _why_no_repository(message: str) -> str:
    if "not a git repository" in message:
        return "the package is not in a git repository"
    if "dubious ownership" in message:
        return "git refuses the repository, which another user owns; see safe.directory in git's manual"
    return f"git says: {_last_line(message)}"


def _last_line(text: str) -> str:
    lines = text.encode("utf-8", "replace").decode().split("\n")
    return next((line for line in reversed(lines) if line.strip()), "nothing")


def digest() -> str:
    """Return a digest of the names and texts of all modules of this package."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\n{len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]
