"""The layout of the package: the direction of imports, and empty package files."""

import ast
from pathlib import Path

import pytest

from skipclm.runtime import checkout, code_digest

PACKAGE = checkout.PACKAGE
# From bottom to top: a module imports only from its own layer and from earlier ones.
LAYERS = [
    *("errors", "text", "pairs", "runtime", "demo", "data", "models", "evaluation"),
    *("config", "training", "analysis", "report", "planning", "cli", "__main__"),
]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def layer(path):
    return LAYERS.index(path.relative_to(PACKAGE).with_suffix("").parts[0])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_import_only_from_lower_layers(path):
    upward = [other for other in code_digest.direct_imports(path) if layer(other) > layer(path)]
    assert [other.relative_to(PACKAGE).as_posix() for other in upward] == []


def test_there_are_no_circular_imports():
    for path in MODULES:
        assert path not in code_digest.imported_modules(path), path


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_package_files_have_only_a_docstring(path):
    (docstring,) = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(docstring.value, ast.Constant)


def test_every_module_has_a_layer():
    assert {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in MODULES} == set(LAYERS)
    assert {path.parent.name for path in Path(PACKAGE).glob("*/__init__.py")} <= set(LAYERS)
