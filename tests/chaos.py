"""Kill the workflow repeatedly at random moments, and check that its results are those of an uninterrupted run.

make chaos              # 50 kills; writes docs/chaos.md
make chaos KILLS=5
"""

import datetime
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from workflows import REPO, TINY, compare, editing, environment, make_copy, processes, results, snakemake

PAGE = REPO / "docs/chaos.md"
# Names of the jobs to kill: their script, and the maximum of seconds that they run before they are killed.
VICTIMS = {
    "the base model": ("prepare_base", 8.0),
    "training": ("train", 8.0),
    "translation": ("translate", 6.0),
    "scoring": ("score", 1.5),
}
SNAKEMAKE = "Snakemake"  # has no script; its process id is known
RETRIED = ("training", "translation")  # Snakemake restarts these jobs in the same run
SIGNALS = {signal.SIGKILL: "-9", signal.SIGTERM: "-TERM"}
LONGEST = 15.0  # maximum of seconds before Snakemake is killed, and to wait for a job


def prepare(folder: Path) -> Path:
    """Make a copy of the repository with a small grid, where a training takes some seconds."""
    make_copy(folder)
    with editing(folder) as config:
        config["training"] = TINY["training"] | {"steps": 150}
        config["grid"] |= {"seeds": [1, 2], "keep_weights": False}
        config["execution"] = {"snapshot_minutes": 0.005, "attempts": 20}  # high, because no run should fail
    return folder


def start(folder: Path) -> subprocess.Popen:
    """Start the workflow."""
    command = [sys.executable, "-P", "-m", "snakemake", "--cores", "2", "--configfile", "tiny.yaml"]
    with open(folder / "snakemake.log", "ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)


def hit(folder: Path, workflow: subprocess.Popen, chance: random.Random) -> tuple[str, signal.Signals] | None:
    """Kill Snakemake or one of its jobs; return its name and the signal, or None if no such process appeared."""
    kind, number = chance.choice([*VICTIMS, SNAKEMAKE]), chance.choice(list(SIGNALS))
    script, longest = VICTIMS.get(kind, ("", LONGEST))
    end = time.monotonic() + LONGEST
    while time.monotonic() < end and workflow.poll() is None:
        if victims := [workflow.pid] if kind == SNAKEMAKE else processes(folder, script):
            victim = chance.choice(victims)
            time.sleep(chance.uniform(0, longest))
            with suppress(ProcessLookupError):
                if workflow.poll() is None and victim in processes(folder):
                    os.kill(victim, number)
                    return kind, number
        time.sleep(0.05)
    return None


def wait_and_unlock(folder: Path) -> None:
    """Wait until the jobs of a killed Snakemake have ended, then unlock the folder as a user would."""
    end = time.monotonic() + 60
    while processes(folder):
        if time.monotonic() > end:
            raise TimeoutError(f"processes still run in {folder}: {processes(folder)}")
        time.sleep(0.1)
    snakemake(folder, "--unlock")


def resumed_logs(folder: Path) -> set[tuple[str, int]]:
    """Return the logs of the trainings that continued from a snapshot, with their modification times."""
    logs = [*folder.glob("logs/**/train.log*"), *folder.glob("logs/**/base.log*")]  # `*.before`: the previous attempt
    resumed = [log for log in logs if "resumes from" in log.read_text(errors="replace")]
    return {(str(log).removesuffix(".before"), log.stat().st_mtime_ns) for log in resumed}


def kill_repeatedly(folder: Path, kills: int, expected: dict) -> tuple[Counter, int, int]:
    """Kill the workflow and start it again; compare the results each time that it finishes.

    Returns the number of kills per process and signal, how often the workflow finished, and how many trainings
    continued from a snapshot. The last number is a lower bound: only the logs of the last two attempts remain.
    """
    chance, hits, ends, resumed = random.Random(7), Counter(), 0, set()
    while True:
        workflow, fatal = start(folder), False
        while hits.total() < kills and workflow.poll() is None:
            if kill := hit(folder, workflow, chance):
                name, number = kill
                hits[kill] += 1
                fatal = fatal or name not in RETRIED
                print(f"{hits.total()}: {name}, {SIGNALS[number]}", flush=True)
        failed = workflow.wait() != 0
        wait_and_unlock(folder)
        resumed |= resumed_logs(folder)
        assert fatal or not failed, (folder / "snakemake.log").read_text()[-5000:]
        if not failed:
            compare(results(folder), expected)
            ends += 1
            print("finished with the expected results", flush=True)
            if hits.total() == kills:
                assert resumed or kills < 20, "no training continued from a snapshot"
                return hits, ends, len(resumed)
            shutil.rmtree(folder / "results")


def page(hits: Counter, ends: int, resumed: int, files: int) -> str:
    """Return the text of the page."""
    names = [*VICTIMS, SNAKEMAKE]
    lines = [f"| {kind} | {' | '.join(str(hits[kind, number]) for number in SIGNALS)} |" for kind in names]
    return f"""# Results after repeated kills

Written on {datetime.date.today()} by `make chaos`. The test runs a small grid on the built-in corpus and kills one of
its processes {hits.total()} times, at random moments. Snakemake restarts killed trainings and translations. After other
kills, the test starts Snakemake again. At least {resumed} trainings continued from a snapshot.

The workflow finished {ends} times, the last time after the last kill. After each of the other times, the test started
it again with no results. Each time, all {files} result files (tables, translations, weights, histories, figures and
records) were those of an uninterrupted run, except for times.

| hit | {" | ".join(SIGNALS.values())} |
| --- | {" | ".join("---:" for _ in SIGNALS)} |
{chr(10).join(lines)}
"""


def main(kills: int) -> None:
    """Run the workflow once without kills, then with kills, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        uninterrupted = prepare(Path(folder) / "uninterrupted")
        if start(uninterrupted).wait():
            raise RuntimeError((uninterrupted / "snakemake.log").read_text())
        expected = results(uninterrupted)
        hits, ends, resumed = kill_repeatedly(prepare(Path(folder) / "killed"), kills, expected)
    PAGE.write_text(page(hits, ends, resumed, len(expected)), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
