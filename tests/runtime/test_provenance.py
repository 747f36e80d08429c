"""Files are whole or absent, logs hold everything, digests follow imports.

Run with: pytest tests/test_provenance.py.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skipclm.errors import InputError
from skipclm.runtime import code_digest, provenance, storage

ROOT = Path(__file__).parents[2]


class PowerCut(BaseException):
    """What no `except Exception` catches, as little as an interrupt."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def break_off(new, error):
    """Write half of a file, in a folder if that is what is new, and raise."""
    with new as temporary:
        half = temporary / "checkpoint" if temporary.is_dir() else temporary
        half.write_text("half of the n")
        raise error


# Files


def test_a_file_appears_with_its_folders(tmp_path):
    storage.write_text(tmp_path / "a/b/c.txt", "fünf\r\n\u2028")
    assert (tmp_path / "a/b/c.txt").read_bytes() == "fünf\r\n\u2028".encode()
    assert names(tmp_path / "a/b") == ["c.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, PowerCut])
@pytest.mark.parametrize("before", [None, "old"])
def test_an_interrupted_file_leaves_the_old_one(tmp_path, error, before):
    path = tmp_path / "scores.json"
    if before:
        path.write_text(before)
    with pytest.raises(error):
        break_off(storage.new_file(path), error)
    assert names(tmp_path) == (["scores.json"] if before else [])
    assert not before or path.read_text() == before


def test_a_file_is_not_there_before_it_is_whole(tmp_path):
    path = tmp_path / "model.safetensors"
    with storage.new_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == tmp_path  # a rename is atomic only within a file system
        assert temporary.suffix == ".safetensors"  # writers tell formats by it
    assert path.read_text() == "half"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_and_folders_are_as_open_as_any(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        storage.write_text(tmp_path / "a", "")
        with storage.new_folder(tmp_path / "b") as folder:
            (folder / "deep").mkdir()
            (folder / "deep/weights").touch(0o600)  # as safetensors leaves them
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    assert (tmp_path / "b/deep/weights").stat().st_mode & 0o777 == mode
    for folder in ("b", "b/deep"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o777 & ~mask


def test_what_a_killed_job_left_goes_when_it_is_tried_again(tmp_path):
    for name in (".model.abc123", ".model.def456", ".models.abc123"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    with storage.new_folder(tmp_path / "model"):
        pass
    assert names(tmp_path) == [".models.abc123", "model"]


# JSON and lines


def test_json_is_written_for_people_and_read_back(tmp_path):
    value = {"pair": "en-zh", "text": "你好", "loss": 0.1, "layers": [1, 2], "none": None}
    storage.write_json(tmp_path / "a.json", value)
    assert storage.read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert '\n  "text": "你好",\n' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_other_readers_cannot_parse(tmp_path, number):
    storage.write_json(tmp_path / "a.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "a.json", {"history": [{"loss": number}]})
    assert storage.read_json(tmp_path / "a.json") == {"loss": 1.0}
    assert names(tmp_path) == ["a.json"]


def test_a_file_that_is_not_json_is_named(tmp_path):
    (tmp_path / "best.json").write_text('{"en-de": ')
    with pytest.raises(InputError, match=r"best\.json: expected JSON, found Expecting value.*; make the file anew"):
        storage.read_json(tmp_path / "best.json")


@pytest.mark.parametrize(
    ("lines", "text"),
    [([], ""), ([""], "\n"), (["a", "", "b\u2028c\x85"], "a\n\nb\u2028c\x85\n")],
)
def test_lines_end_with_newlines_alone(tmp_path, lines, text):
    storage.write_lines(tmp_path / "a.txt", lines)
    assert (tmp_path / "a.txt").read_bytes() == text.encode()


@pytest.mark.parametrize("line", ["a\nb", "a\n", "a\r", "\r\n"])
def test_a_line_break_within_a_line_is_refused(tmp_path, line):
    with pytest.raises(ValueError, match=r"a\.txt, line 2 would hold a line break: "):
        storage.write_lines(tmp_path / "a.txt", ["one", line])
    assert names(tmp_path) == []


# Folders


@pytest.mark.parametrize("before", [False, True])
def test_a_folder_takes_its_name_when_it_is_whole(tmp_path, before):
    path = tmp_path / "deep/model"
    if before:
        path.mkdir(parents=True)
        (path / "old").touch()
    with storage.new_folder(path) as temporary:
        (temporary / "config.json").touch()
        assert (path / "old").exists() is before
        assert temporary.name.startswith(".")
    assert names(path) == ["config.json"]
    assert names(tmp_path / "deep") == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, PowerCut])
def test_an_interrupted_folder_leaves_the_old_one(tmp_path, error):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old").touch()
    with pytest.raises(error):
        break_off(storage.new_folder(tmp_path / "model"), error)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old"]


# Records


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"seed": 1', "expected JSON, found "),
        ("[" * 100_000, "expected JSON, found "),
        ("[1]", "expected a JSON object, found another value; make the file anew"),
        ('{"metrics": {}}', "expected a record that this version can read, found no seed in it"),
        ('{"seed": 1, "metrics": null}', "expected a record that this version can read, found no metrics in it"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(tmp_path, text, message):
    path = tmp_path / "record.json"
    path.write_text('{"seed": 1, "metrics": {}, "more": 2}')
    assert storage.read_record(path, seed=int, metrics=dict) == {"seed": 1, "metrics": {}, "more": 2}
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        storage.read_record(path, seed=int, metrics=dict)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_record_says_what_a_number_depends_on():
    record = provenance.environment()
    assert json.loads(json.dumps(record)) == record
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["versions"]["torch"]
    assert record["finished"].endswith("+00:00")


def test_what_is_not_installed_has_no_version(monkeypatch):
    def version(name):
        if name == "skipclm":  # in an environment made by --sdm conda, the package is only on the path
            raise provenance.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", version)
    versions = provenance.environment()["versions"]
    assert (versions["skipclm"], versions["torch"]) == (None, "1.0")


def test_environment_says_what_torch_computes_with():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    assert provenance.environment()["torch"] == {"threads": 1, "accelerator": name}


def test_environment_does_not_wait_for_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert provenance.environment()["torch"] is None


def test_environment_says_which_code_it_was(monkeypatch):
    monkeypatch.setattr(provenance.checkout, "version", lambda: {"commit": "none (why)", "code": "abc"})
    record = provenance.environment()
    assert (record["commit"], record["code"]) == ("none (why)", "abc")


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),  # FIPS 180-2, appendix B
    ],
)
def test_sha256_is_the_standards(tmp_path, content, digest):
    (tmp_path / "a").write_bytes(content)
    assert storage.sha256(tmp_path / "a") == digest


# What jobs import


def test_jobs_import_this_package_and_nothing_from_the_folder_where_they_start(tmp_path, monkeypatch):
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")
    for name in ("datetime", "skipclm"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the working folder')\n", encoding="utf-8")
    provenance.share_package()
    code = "import datetime, skipclm; print(skipclm.__file__)"
    for command, words in ((["-c", code], str(ROOT / "src/skipclm/__init__.py")), (["-m", "calendar", "2026"], "July")):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout


# Digests of code


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package and the scripts, whose modules may be edited."""
    for folder in ("src/skipclm", "workflow/scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "src/skipclm/provenance.py"))
    return tmp_path


def digest(folder, script):
    return code_digest.code_digest(folder / f"workflow/scripts/{script}.py")


def edit(path):
    path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")


def reruns(folder, script, module):
    """Tell whether an edit of a module changes the digest of a script."""
    before = digest(folder, script)
    edit(folder / f"src/skipclm/{module}.py")
    return digest(folder, script) != before


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("train", "training"),
        ("train", "losses"),  # through training
        ("train", "loop"),  # through training
        ("train", "modeling"),  # through checkpoints
        ("train", "configuration"),  # by a relative import of modeling
        ("train", "examples"),  # by `from skipclm.examples import ...`
        ("train", "runs"),
        ("prepare_base", "base"),
        ("prepare_base", "tokenizer"),  # through base
        ("translate", "translation"),
        ("translate", "modeling"),
        ("score", "metrics"),
        ("select_best", "selection"),
        ("select_best", "metrics"),  # through selection, which must know which way is up
        ("build_corpus", "sources"),
        ("build_corpus", "hub"),  # through sources
        ("build_corpus", "demo_grammar"),  # through corpus, sources and demo, which are imported within functions
        ("build_corpus", "demo_german"),  # through the grammar
        ("encode_split", "examples"),
        ("plot_grid", "grid_figures"),
        ("plot_grid", "training_figure"),
        ("plot_grid", "figures"),  # through both
        ("plot_ablation", "ablation_figure"),
        ("train", "errors"),  # through everything
    ],
)
def test_an_edited_module_reruns_what_uses_it(copied, script, module):
    assert reruns(copied, script, module)


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("train", "translation"),
        ("train", "corpus"),
        ("train", "base"),
        ("train", "metrics"),
        ("prepare_base", "metrics"),
        ("train", "selection"),
        ("train", "experiment"),
        ("prepare_base", "training"),
        ("translate", "training"),
        ("translate", "metrics"),
        ("translate", "tables"),
        ("translate", "runs"),
        ("score", "modeling"),
        ("score", "translation"),
        ("score", "figures"),
        ("build_corpus", "tokenizer"),
        ("build_corpus", "metrics"),
        ("encode_split", "metrics"),
        ("plot_ablation", "grid_figures"),
        ("plot_grid", "ablation_figure"),
        ("select_best", "figures"),
        ("select_best", "cli"),
    ],
)
def test_an_edited_module_leaves_alone_what_does_not_use_it(copied, script, module):
    assert not reruns(copied, script, module)


def test_an_edited_script_reruns_its_rule_alone(copied):
    before = {script: digest(copied, script) for script in ("train", "translate")}
    edit(copied / "workflow/scripts/train.py")
    assert digest(copied, "train") != before["train"]
    assert digest(copied, "translate") == before["translate"]


def test_a_touched_file_or_another_checkout_reruns_nothing(copied, monkeypatch):
    before = digest(copied, "train")
    os.utime(copied / "src/skipclm/training.py", (1, 1))
    assert digest(copied, "train") == before
    shutil.copytree(copied / "src", copied / "other/src")
    shutil.copytree(copied / "workflow", copied / "other/workflow")
    monkeypatch.setattr(provenance, "__file__", str(copied / "other/src/skipclm/provenance.py"))
    assert digest(copied / "other", "train") == before


@pytest.mark.parametrize(
    "line",
    [
        "from skipclm import metrics",
        "from skipclm.metrics import METRICS",
        "import skipclm.metrics",
        "import os, skipclm.metrics as m",
        "def score():\n    from skipclm import metrics",
        "from skipclm import __doc__, metrics",  # a name that is no module is passed over
    ],
)
def test_imports_of_every_form_are_seen(copied, line):
    (copied / "workflow/scripts/own.py").write_text(f"{line}\n", encoding="utf-8")
    assert reruns(copied, "own", "metrics")


def test_modules_that_import_each_other_are_no_trap(copied):
    for module, other in (("yin", "yang"), ("yang", "yin")):
        (copied / f"src/skipclm/{module}.py").write_text(f"from skipclm import {other}\n", encoding="utf-8")
    (copied / "workflow/scripts/own.py").write_text("from skipclm import yin\n", encoding="utf-8")
    assert reruns(copied, "own", "yang")
