"""Copies of the repository in which the workflow runs on a tiny corpus."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from skipclm.demo import generator
from skipclm.runtime import job_environment

REPO = Path(__file__).parents[1]
PARTS = ["Snakefile", "config.yaml", "src", "workflow", "resources", "profiles", "envs"]
TINY = {
    "experiment": "tiny",
    "pairs": ["en-de", "en-zh"],
    "corpus": {
        "sources": {"demo": {"size": 300}, "held_out": {"kind": "lines", "path": "held_out/{language}.txt"}},
        "valid": {"size": 12},
        "test": {"source": "held_out", "size": None},
    },
    "model": {"scratch": {"layers": 3, "width": 16, "heads": 2, "vocabulary": 600, "steps": 4, "batch_tokens": 256}},
    "skip": {"warmup_steps": 2},
    "training": {"steps": 4, "batch_size": 8, "log_every": 2, "validations": 2},
    "grid": {"seeds": [1], "contrastive_layer": [1], "skip_source": [1], "skip_target": [2, 3], "keep_weights": True},
    "ablation": {"seeds": [1], "variants": {"contrastive_only": None, "skip_only": None}},
    "evaluation": {"length_ratio": 0, "length_extra": 8},
}
RESULTS = Path("results/tiny")
CLOCKS = {"train_seconds", "tokens_per_second", "finished"}  # no two runs have the same


def environment(folder):
    """Return the variables with which a copy uses its own package."""
    return os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def snakemake(folder, *arguments, check=True):
    """Run Snakemake in a copy of the repository, with the copy's own package."""
    configs = [] if "--configfile" in arguments else ["--configfile", "tiny.yaml"]
    command = [sys.executable, "-P", "-m", "snakemake", "--cores", "2", *arguments, *configs]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output
    return output


def cluster_job(folder, rule, record, check=True):
    """Run a job as a cluster does, in a Snakemake of its own, of the invocation that has this record."""
    command = [sys.executable, "-m", "snakemake", "--mode", "remote", "--executor", "local", "--cores", "1"]
    command += ["--target-jobs", f"{rule}:", "--force", "--nolock", "--no-hooks", "--configfile", "tiny.yaml"]
    variables = environment(folder) | ({job_environment.INVOCATION: record} if record else {})
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned(folder, *arguments):
    """Return how many jobs of each rule a dry run plans."""
    output = snakemake(folder, "--dry-run", *arguments)
    table = output.split("Job stats:")[-1].split("total")[0] if "Job stats:" in output else ""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def processes(folder, script=""):
    """Return the processes that work in a folder: all, or those of a script."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            if (process / "cwd").resolve() == folder.resolve() and (not script or f".{script}.py" in words):
                found.append(int(process.name))
    return found


def configure(folder, **grid):
    """Write the tiny configuration, with changes of its grid."""
    config = TINY | {"grid": TINY["grid"] | grid}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def make_copy(folder):
    folder.mkdir(exist_ok=True)
    for name in PARTS:
        place = REPO / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, folder / name)
    configure(folder)
    generator.write_corpus(folder / "held_out", count=15, seed=99)
    for path in (folder / "held_out").iterdir():
        # A blank line, which is left out, and markup, which is warned of.
        text = path.read_text(encoding="utf-8").replace("\n", "\n\n<i>", 1)
        path.with_name(f"{path.suffix[1:]}.txt").write_text(text, encoding="utf-8")
        path.unlink()
    return folder


def rows(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def without_clocks(value):
    """Return what was read of a file without what no two runs have the same, at any depth."""
    if isinstance(value, dict):
        return {key: without_clocks(entry) for key, entry in value.items() if key not in CLOCKS}
    return [without_clocks(entry) for entry in value] if isinstance(value, list) else value


def results(folder, experiment=TINY["experiment"]):
    """Return all that a finished run has of tables, translations, weights and figures, by name, but for clocks."""
    found = {}
    for path in sorted((folder / "results" / experiment).rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "cost.tsv":
            continue  # of clocks alone
        if path.suffix == ".tsv":
            found[name] = without_clocks(rows(path))
        elif path.suffix == ".json":
            found[name] = without_clocks(json.loads(path.read_text(encoding="utf-8")))
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def compare(found, expected):
    """Raise an `AssertionError` unless all `results` are as expected."""
    assert found.keys() == expected.keys(), f"files: {sorted(found.keys() ^ expected.keys())}"
    other = [name for name in expected if found[name] != expected[name]]
    assert not other, f"other contents: {other}"


@contextmanager
def editing(folder):
    """Yield the configuration of a copy, to be changed."""
    config = yaml.safe_load((folder / "tiny.yaml").read_text(encoding="utf-8"))
    yield config
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
