"""The scripts of the workflow: imports, and failures of COMET."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from skipclm.runtime import atomic, job_environment

SCRIPTS = Path(__file__).parents[1] / "workflow/scripts"
WITH_TORCH = {"prepare_base", "train", "translate"}


def _imports(script):
    tree = ast.parse((SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) or _is_loading(node)]
    return "\n".join(map(ast.unparse, nodes))


def _is_loading(node):
    return isinstance(node, ast.With) and "startup.without_garbage_collection" in ast.unparse(node.items[0])


def test_only_training_and_translation_scripts_import_torch():
    scripts = sorted({path.stem for path in SCRIPTS.glob("*.py")} - WITH_TORCH)
    checks = [f"{_imports(script)}\nprint({script!r}, 'torch' in sys.modules)" for script in scripts]
    code = "\n".join(["import sys", *checks])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{script} False" for script in scripts]


def test_repeatedly_failing_comet_counts_as_not_run_with_a_reason(tmp_path):
    script, output = SCRIPTS / "score_neural.py", tmp_path / "test.comet.json"
    options = ["--log", tmp_path / "log", "--gpu", "0", "--output", output]
    plan = tmp_path / "plans/1.json"
    atomic.write_json(plan, {"config": {"execution": {"attempts": 2, "jobs_per_gpu": 1}}})
    environment = os.environ | {job_environment.INVOCATION: str(plan)}
    for status in (1, 1, 0):
        assert not output.exists()
        assert subprocess.run([sys.executable, script, *options, "--", "false"], env=environment).returncode == status
    assert json.loads(output.read_text()) == {"not_run": "RuntimeError: false ended with status 1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.before", "plans", "test.comet.json"]
