"""`skipclm plan`: number of jobs, interrupts, options and errors."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workflows import RESULTS, environment, make_copy, processes

from skipclm.errors import InputError
from skipclm.planning import cost, plan


@pytest.mark.slow
def test_plan_has_the_jobs_of_the_workflow(finished, tmp_path, monkeypatch):
    folder = make_copy(tmp_path / "copy")
    command = [sys.executable, "-c", "from skipclm.cli import main; main()", "plan", "--configfile", "tiny.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trainings at a time" in done.stdout
    left = [path for part in ("results", "benchmarks", "logs") for path in (folder / part).rglob("*")]
    assert [path.name for path in left if path.is_file()] == [cost.FORECAST]
    monkeypatch.chdir(finished)
    forecast, config = (
        json.loads(path.read_text()) for path in (folder / RESULTS / cost.FORECAST, RESULTS / cost.CONFIG)
    )
    assert forecast["config"] == config
    jobs = {stage["stage"]: stage["jobs"] for stage in forecast["stages"]}
    assert jobs == cost.Measured(finished, config).by_stage()["jobs"].to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=lambda ending: ending.name)
def test_interrupted_plan_leaves_no_processes_and_no_results(tmp_path, ending):
    folder = make_copy(tmp_path / "copy")
    command = [sys.executable, "-c", "from skipclm.cli import main; main()", "plan", "--configfile", "tiny.yaml"]
    pipes = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment(folder), **pipes) as process:
        while not list(folder.glob("results/*.plan/corpus/*")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(ending)
        began = time.monotonic()
        time.sleep(0.05)
        process.send_signal(ending)  # a second signal changes nothing
        messages = process.communicate()[1]
    assert time.monotonic() - began < 15
    assert process.returncode == 128 + ending
    assert messages.splitlines()[1:] == [f"interrupted by {ending.name}; what was measured so far is removed"]
    assert not list(folder.glob("results/*.plan"))
    assert not list(folder.glob(".snakemake/locks/*"))
    assert not processes(folder)


def test_plan_does_not_overwrite_existing_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/demo.plan").mkdir(parents=True)
    with pytest.raises(InputError, match=r"found one, perhaps of an interrupted plan; remove it"):
        plan.plan([], [], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pairs: [en-de", "expected YAML, found an error: while parsing a flow sequence"),
        ("- pairs", "expected keys with values, found list; correct it"),
        ("pairs: [en-xx]", "pairs: expected languages among"),
        ("model: &a {scratch: *a}", "expected keys and values, found values nested without end; remove"),
        ("pairs: &a [*a]", "pairs: expected at most 32 values within each other"),
        ("pairs: " + "[" * 5000 + "]" * 5000, "expected keys and values, found values nested without end"),
    ],
)
def test_wrong_overlays_are_refused(tmp_path, text, message):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        plan.resolve([overlay])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_overlay_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a file, found none"):
        plan.resolve([tmp_path / "mine.yaml"])


def test_settings_are_merged_as_snakemake_does():
    config = plan.resolve([], ["experiment=mine", "corpus={folder: data}"])
    assert (config["experiment"], config["corpus"]["folder"]) == ("mine", "data")
    assert config["corpus"]["seed"] == plan.resolve([])["corpus"]["seed"]
    for setting in ("folder", "folder=#", "a.b=1"):
        with pytest.raises(InputError, match=f"--config: expected KEY=VALUE, found {setting}; correct it"):
            plan.resolve([], [setting])


def test_empty_overlay_is_the_default(tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert plan.resolve([tmp_path / "mine.yaml"]) == plan.resolve([])


@pytest.mark.parametrize(
    ("configfile", "config", "more", "expected"),
    [
        ([], [], [], ([], [])),
        (["a.yaml"], [], ["b.yaml"], (["a.yaml", "b.yaml"], [])),
        (["a.yaml"], ["x=1"], ["dir/b=c.yaml", "y={z: 2}"], (["a.yaml", "dir/b=c.yaml"], ["x=1", "y={z: 2}"])),
    ],
)
def test_option_takes_all_following_words(configfile, config, more, expected):
    overlays, settings = plan.options([Path(name) for name in configfile], config, more)
    assert ([str(path) for path in overlays], settings) == expected


@pytest.mark.parametrize(
    ("configfile", "config", "more", "message"),
    [
        (["a.yaml", "b.yaml"], [], [], "--configfile: expected the option once.*write --configfile a.yaml b.yaml"),
        ([], ["x=1", "y=2"], [], "--config: expected the option once.*write --config x=1 y=2"),
        ([], [], ["a.yaml"], "a.yaml: expected it after --configfile"),
        (["a.yaml"], [], ["x=1"], "x=1: expected it after --config,"),
    ],
)
def test_words_that_snakemake_reads_differently_are_refused(configfile, config, more, message):
    with pytest.raises(InputError, match=message):
        plan.options(configfile, config, more)


def test_plan_ignores_profiles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()  # Snakemake would read it as a profile
    for name in ("PROFILE", "CONDA_PREFIX", "OUTPUT_CACHE"):
        monkeypatch.setenv(f"SNAKEMAKE_{name}", "no/such/place")
    config = plan.resolve([], ["experiment=mine"])
    config["evaluation"]["metrics"] = ["no such metric"]  # so that Snakemake reaches our check of the configuration
    with pytest.raises(InputError, match="some failed"):
        plan._run(config, [], 1)
    assert "evaluation.metrics" in (tmp_path / "logs/mine.log").read_text(encoding="utf-8")
