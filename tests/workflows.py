"""Helpers that run the workflow on a tiny corpus, in a copy of the repository."""

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
TIMES = {"train_seconds", "tokens_per_second", "finished"}  # differ from run to run


def environment(folder):
    """Return environment variables with which a copy of the repository uses its own package."""
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
    """Run a job as on a cluster, in its own Snakemake, for the invocation with this record (None: without one)."""
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
    """Return the ids of the processes with this working folder, all of them or those of one script."""
    ids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            if (process / "cwd").resolve() == folder.resolve() and (not script or f".{script}.py" in words):
                ids.append(int(process.name))
    return ids


def configure(folder, **grid):
    """Write the tiny configuration, with changes to its section `grid`."""
    config = TINY | {"grid": TINY["grid"] | grid}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def make_copy(folder):
    """Copy the repository with the tiny configuration to `folder` and return it."""
    folder.mkdir(exist_ok=True)
    for name in PARTS:
        part = REPO / name
        copy = shutil.copytree if part.is_dir() else shutil.copy
        copy(part, folder / name)
    configure(folder)
    generator.write_corpus(folder / "held_out", count=15, seed=99)
    for path in (folder / "held_out").iterdir():
        # Add a blank line, which the corpus drops, and markup, which causes a warning.
        text = path.read_text(encoding="utf-8").replace("\n", "\n\n<i>", 1)
        path.with_name(f"{path.suffix[1:]}.txt").write_text(text, encoding="utf-8")
        path.unlink()
    return folder


def rows(path):
    """Return the rows of a table as dictionaries."""
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def without_times(value):
    """Return the content of a table or JSON file without the times, at any depth."""
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


def results(folder, experiment=TINY["experiment"]):
    """Return the contents of all result files of a finished run by path, without times."""
    contents = {}
    for path in sorted((folder / "results" / experiment).rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "cost.tsv":
            continue  # has only times
        if path.suffix == ".tsv":
            contents[name] = without_times(rows(path))
        elif path.suffix == ".json":
            contents[name] = without_times(json.loads(path.read_text(encoding="utf-8")))
        elif path.is_file():
            contents[name] = path.read_bytes()
    return contents


def compare(actual, expected):
    """Raise an `AssertionError` unless the `results` of two runs are the same."""
    assert actual.keys() == expected.keys(), f"files: {sorted(actual.keys() ^ expected.keys())}"
    different = [name for name in expected if actual[name] != expected[name]]
    assert not different, f"different contents: {different}"


@contextmanager
def editing(folder):
    """Yield the configuration of a copy for changes, and write it afterwards."""
    config = yaml.safe_load((folder / "tiny.yaml").read_text(encoding="utf-8"))
    yield config
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
