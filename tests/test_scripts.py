"""The workflow's scripts load what they need and no more."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "workflow/scripts"
WITH_TORCH = {"encode_split", "prepare_base", "train", "translate"}


def _imports(script):
    tree = ast.parse((SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) or _is_loading(node)]
    return "\n".join(map(ast.unparse, nodes))


def _is_loading(node):
    return isinstance(node, ast.With) and "startup.loading" in ast.unparse(node.items[0])


@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_jobs_that_train_and_translate_alone_load_torch(script):
    code = f"{_imports(script)}\nimport sys\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(script in WITH_TORCH)
