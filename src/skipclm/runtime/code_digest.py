"""Digests of code that ignore comments, docstrings and formatting."""

import ast
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from skipclm.runtime.checkout import PACKAGE

OMITTED = " without "  # in a digest, before the names of omitted packages


def code_digest(script: str | Path, omit: Sequence[str] = ()) -> str:
    """Return a digest of a script and of the modules of this package that it imports, directly or not.

    Snakemake notices an edited script but not an edited module. The digest covers the syntax trees without docstrings,
    in the format of this version of Python. It does not depend on the location and the dates of the files. Modules in
    the sub-packages `omit` do not count; their names are part of the digest, so that `is_current` can repeat it.
    """
    digest = hashlib.sha256()
    for path in sorted({Path(script), *imported_modules(script)}, key=_name):
        if _name(path).partition("/")[0] not in omit:
            digest.update(f"{_name(path)}\n{_syntax_tree_text(path.read_text(encoding='utf-8'))}\n".encode())
    return OMITTED.join(filter(None, [digest.hexdigest()[:16], ",".join(omit)]))


def is_current(script: str | Path, digest: str) -> bool:
    """Return whether a script and its modules still have a digest that `code_digest` returned."""
    names = digest.partition(OMITTED)[2]
    return code_digest(script, names.split(",") if names else ()) == digest


def text_digest(paths: Iterable[Path]) -> str:
    """Return a digest of the names and texts of files, independent of their order."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(f"{path.name}\n{path.read_text(encoding='utf-8')}".encode())
    return digest.hexdigest()[:16]


def imported_modules(script: str | Path) -> set[Path]:
    """Return the files of all modules of this package that a script imports, directly or not."""
    modules: set[Path] = set()
    queue = [Path(script)]
    while queue:
        new = direct_imports(queue.pop()) - modules
        modules |= new
        queue += new
    return modules


def direct_imports(path: Path) -> frozenset[Path]:
    """Return the files of the modules of this package that a file imports anywhere in it."""
    return _imports_of_text(path, path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    """Return the name of a module in this package, such as training/losses.py, or of a script."""
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name


# The two caches have the text as key, so that an edited file is parsed again.
@cache
def _syntax_tree_text(text: str) -> str:
    """Return the syntax tree of code as text, without docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


@cache
def _imports_of_text(path: Path, text: str) -> frozenset[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(path, node)
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return frozenset(filter(None, map(_module_file, names)))


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    """Return the full name of the module that a `from ... import` names."""
    if not node.level:
        return node.module or ""
    folder = path.resolve().parents[node.level - 1].relative_to(PACKAGE.parent)
    return ".".join([*folder.parts, *filter(None, [node.module])])


def _module_file(name: str) -> Path | None:
    """Return the file of a module of this package; None for a package, another library or a name in a module."""
    first, *parts = name.split(".")
    path = PACKAGE.joinpath(*parts).with_suffix(".py")
    return path if first == PACKAGE.name and parts and path.is_file() else None
