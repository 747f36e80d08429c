"""Digests of code: the modules that each script uses, and the edits that cause a rerun."""

import os
import shutil
from pathlib import Path

import pytest

from skipclm.runtime import code_digest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow/scripts"

# The modules that each script uses. An edit of one of these reruns the rule; an edit of another module does not.
# The table omits the modules of `runtime` and the modules `errors`, `text` and `pairs`.
ENCODING = "data/examples models/tokenizer_loading"
LOADING = f"{ENCODING} models/checkpoints models/configuration models/decoders models/loading models/modeling"
LEARNING = "config/runs data/batching training/callbacks training/losses training/running_means training/training_loop"
METRICS = "data/language_id evaluation/metrics evaluation/rouge evaluation/segment_errors"
SCORES = f"{METRICS} data/text_files evaluation/score_files"
CORPUS = (
    "data/corpus data/hub data/language_id data/placeholders data/sources data/text_checks data/text_files "
    "demo/chinese demo/english demo/generator demo/german demo/grammar demo/turkish demo/words"
)
USED = {
    "add_test": CORPUS,
    "build_corpus": CORPUS,
    "check_split": f"{ENCODING} {METRICS} data/text_files evaluation/split_check",
    "collect_ablation": f"{SCORES} analysis/ablation_summary analysis/grid_statistics analysis/selection "
    "analysis/significance report/table_legend report/tables",
    "collect_grid": f"{SCORES} analysis/selection",
    "comet_segments": "",
    "compare_cells": f"{SCORES} analysis/grid_statistics analysis/selection analysis/significance",
    "compare_variants": f"{SCORES} analysis/significance",
    "encode_split": f"{ENCODING} data/text_files",
    "measure_overlap": "analysis/overlap data/text_files evaluation/rouge",
    "plot_ablation": f"{METRICS} report/ablation_figure report/figures",
    "plot_grid": f"{SCORES} analysis/selection config/runs report/figures report/grid_figures report/training_figure",
    "prepare_base": f"{LOADING} {LEARNING} data/bpe data/placeholders data/text_files models/model_folder "
    "training/base_model",
    "score": f"{SCORES} config/runs",
    "score_neural": "",
    "select_best": f"{SCORES} analysis/selection",
    "show_translations": f"{SCORES} analysis/side_by_side",
    "train": f"{LOADING} {LEARNING} models/adapters training/base_trial training/fine_tuning training/training_job",
    "translate": f"{LOADING} data/batching data/text_files evaluation/decoding evaluation/score_files",
    "try_base": "training/base_trial",
    "write_report": f"{SCORES} analysis/grid_statistics analysis/selection analysis/significance report/table_legend "
    "report/tables",
}


def test_table_has_every_script():
    assert USED.keys() == {path.stem for path in SCRIPTS.glob("*.py")}


@pytest.mark.parametrize("script", USED)
def test_script_uses_exactly_these_modules(script):
    names = {
        path.relative_to(code_digest.PACKAGE).as_posix()
        for path in code_digest.imported_modules(SCRIPTS / f"{script}.py")
    }
    assert {name.removesuffix(".py") for name in names if "/" in name and not name.startswith("runtime/")} == set(
        USED[script].split()
    )


# Edits


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package and the scripts that tests may edit."""
    for folder in ("src/skipclm", "workflow/scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_digest, "PACKAGE", tmp_path / "src/skipclm")
    return tmp_path


def digest(folder, script):
    """Return the digest of a script in a copy."""
    return code_digest.code_digest(folder / f"workflow/scripts/{script}.py")


def append(path, text):
    """Append text to a file."""
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def reruns(folder, script, module, text="\nEDITED = 1\n"):
    """Return whether an edit of a module changes the digest of a script."""
    before = digest(folder, script)
    append(folder / f"src/skipclm/{module}.py", text)
    return digest(folder, script) != before


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("train", "training/losses"),  # through fine_tuning
        ("train", "models/configuration"),  # by a relative import of modeling
        ("train", "errors"),
        ("train", "runtime/jobs"),
        ("score", "pairs"),
        ("build_corpus", "demo/turkish"),  # through imports within functions
        ("encode_split", "text"),
    ],
)
def test_edited_module_reruns_scripts_that_use_it(copied, script, module):
    assert reruns(copied, script, module)


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("train", "evaluation/decoding"),
        ("translate", "demo/turkish"),
        ("score", "demo/turkish"),
        ("prepare_base", "demo/turkish"),
        ("translate", "training/fine_tuning"),
        ("train", "cli"),
    ],
)
def test_edited_module_does_not_rerun_other_scripts(copied, script, module):
    assert not reruns(copied, script, module)


@pytest.mark.parametrize("module", ["errors", "training/losses", "runtime/jobs", "models/modeling"])
def test_comments_docstrings_and_formatting_rerun_nothing(copied, module):
    before, path = digest(copied, "train"), copied / f"src/skipclm/{module}.py"
    text = path.read_text(encoding="utf-8")
    start = text.index('"""')
    end = text.index('"""', start + 3)
    body = text[end + 3 :].replace("    return ", "    return  ").replace('    """Return ', '    """Get ')
    path.write_text(f'"""Another docstring."""\n\n# A comment.\n{body}\n\n# The end.\n', encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    assert digest(copied, "train") == before


def test_omitted_package_does_not_count(copied):
    script = copied / "workflow/scripts/build_corpus.py"
    complete, without_demo = code_digest.code_digest(script), code_digest.code_digest(script, ["demo"])
    append(copied / "src/skipclm/demo/turkish.py", "\nEDITED = 1\n")
    assert code_digest.is_current(script, without_demo)
    assert not code_digest.is_current(script, complete)
    append(copied / "src/skipclm/data/corpus.py", "\nEDITED = 1\n")
    assert not code_digest.is_current(script, without_demo)


def test_string_that_is_not_a_docstring_counts(copied):
    assert reruns(copied, "train", "errors", "\ndef edited():\n    return 'a'\n")
    assert reruns(copied, "train", "errors", "\nedited.__doc__ = 'b'\n")


def test_docstring_counts_as_an_empty_body(copied):
    append(copied / "src/skipclm/errors.py", '\nclass Other:\n    """One."""\n')
    before = digest(copied, "train")
    path = copied / "src/skipclm/errors.py"
    path.write_text(path.read_text(encoding="utf-8").replace('"""One."""', '"""Two."""'), encoding="utf-8")
    assert digest(copied, "train") == before


def test_edited_script_reruns_only_its_rule(copied):
    before = {script: digest(copied, script) for script in ("train", "translate")}
    append(copied / "workflow/scripts/train.py", "\nEDITED = 1\n")
    assert digest(copied, "train") != before["train"]
    assert digest(copied, "translate") == before["translate"]


def test_touched_file_or_another_checkout_reruns_nothing(copied, monkeypatch):
    before = digest(copied, "train")
    os.utime(copied / "src/skipclm/training/fine_tuning.py", (1, 1))
    assert digest(copied, "train") == before
    shutil.copytree(copied / "src", copied / "other/src")
    shutil.copytree(copied / "workflow", copied / "other/workflow")
    monkeypatch.setattr(code_digest, "PACKAGE", copied / "other/src/skipclm")
    assert digest(copied / "other", "train") == before


@pytest.mark.parametrize(
    "line",
    [
        "from skipclm.evaluation import metrics",
        "from skipclm.evaluation.metrics import METRICS",
        "import skipclm.evaluation.metrics",
        "import os, skipclm.evaluation.metrics as m",
        "def score():\n    from skipclm.evaluation import metrics",
        "from skipclm.evaluation import __doc__, metrics",  # a name that is not a module is ignored
    ],
)
def test_all_forms_of_imports_are_recognised(copied, line):
    (copied / "workflow/scripts/new.py").write_text(f"{line}\n", encoding="utf-8")
    assert reruns(copied, "new", "evaluation/metrics")


@pytest.mark.parametrize(
    "line", ["from . import other", "from .other import name", "from .. import text", "from ..text import key"]
)
def test_relative_imports_are_recognised(copied, line):
    (copied / "src/skipclm/data/one.py").write_text(f"{line}\n", encoding="utf-8")
    (copied / "src/skipclm/data/other.py").write_text("name = 1\n", encoding="utf-8")
    (copied / "workflow/scripts/new.py").write_text("from skipclm.data import one\n", encoding="utf-8")
    assert reruns(copied, "new", "text" if "text" in line else "data/other")


def test_circular_imports_end(copied):
    for module, imported in (("yin", "yang"), ("yang", "yin")):
        (copied / f"src/skipclm/{module}.py").write_text(f"from skipclm import {imported}\n", encoding="utf-8")
    (copied / "workflow/scripts/new.py").write_text("from skipclm import yin\n", encoding="utf-8")
    assert reruns(copied, "new", "yang")
