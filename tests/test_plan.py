"""Plans count the jobs that the workflow then has, leave nothing behind but the forecast, and say what is wrong."""

import json
import signal
import subprocess
import sys
import time

import pytest
from workflows import RESULTS, environment, make_copy, processes

from skipclm import cost, plan
from skipclm.errors import InputError


@pytest.mark.slow
def test_a_plan_has_the_jobs_that_the_workflow_has(finished, tmp_path, monkeypatch):
    folder = make_copy(tmp_path / "copy")
    command = [sys.executable, "-c", "from skipclm.cli import main; main()", "plan", "--configfile", "tiny.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trainings at a time" in done.stdout
    left = [path for place in ("results", "benchmarks", "logs") for path in (folder / place).rglob("*")]
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
def test_a_plan_that_is_told_to_end_leaves_nothing_running_and_no_results(tmp_path, ending):
    folder = make_copy(tmp_path / "copy")
    command = [sys.executable, "-c", "from skipclm.cli import main; main()", "plan", "--configfile", "tiny.yaml"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder)) as process:
        while not list(folder.glob("results/*.plan/corpus/*")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(ending)
        assert process.wait() != 0
    assert not list(folder.glob("results/*.plan"))
    assert not list(folder.glob(".snakemake/locks/*"))
    assert not processes(folder)


def test_what_an_interrupted_plan_left_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/demo.plan").mkdir(parents=True)
    with pytest.raises(InputError, match=r"found one, of a plan that was interrupted perhaps; remove it"):
        plan.plan([], [], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pairs: [en-de", "expected YAML, found that it is not: while parsing a flow sequence"),
        ("- pairs", "expected keys with values, found list; correct it"),
        ("pairs: [en-xx]", "pairs: expected languages among"),
        ("model: &a {scratch: *a}", "expected keys and values, found values within values without end; remove"),
        ("pairs: &a [*a]", "pairs: expected at most 32 values within each other"),
        ("pairs: " + "[" * 5000 + "]" * 5000, "expected keys and values, found values within values without end"),
    ],
)
def test_overlays_that_are_wrong_are_told(tmp_path, text, message):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        plan.resolve([overlay])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_overlay_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="expected a file, found none"):
        plan.resolve([tmp_path / "mine.yaml"])


def test_settings_are_those_of_snakemake():
    config = plan.resolve([], ["experiment=mine", "corpus={folder: data}"])
    assert (config["experiment"], config["corpus"]["folder"]) == ("mine", "data")
    assert config["corpus"]["seed"] == plan.resolve([])["corpus"]["seed"]
    for setting in ("folder", "folder=#", "a.b=1"):
        with pytest.raises(InputError, match=f"--config: expected KEY=VALUE, found {setting}; correct it"):
            plan.resolve([], [setting])


def test_an_empty_overlay_is_the_default(tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert plan.resolve([tmp_path / "mine.yaml"]) == plan.resolve([])
