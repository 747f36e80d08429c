"""Kill the workflow again and again, in random places, and see that it ends as if nothing had happened.

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
# Scripts by what they do, and seconds that they live at most before they are hit.
VICTIMS = {
    "the base model": ("prepare_base", 8.0),
    "training": ("train", 8.0),
    "translation": ("translate", 6.0),
    "scoring": ("score", 1.5),
}
SNAKEMAKE = "Snakemake"  # which is told by its process number
RETRIED = ("training", "translation")  # by Snakemake, in the same run
SIGNALS = {signal.SIGKILL: "-9", signal.SIGTERM: "-TERM"}
LONGEST = 15.0  # seconds that Snakemake lives at most, and that others are waited for


def prepare(folder: Path) -> Path:
    """Make a copy of the repository with a small grid, of trainings that take some seconds."""
    make_copy(folder)
    with editing(folder) as config:
        config["training"] = TINY["training"] | {"steps": 150}
        config["grid"] |= {"seeds": [1, 2], "keep_weights": False}
        config["execution"] = {"snapshot_minutes": 0.005, "attempts": 20}  # for nothing is meant to fail for good
    return folder


def start(folder: Path) -> subprocess.Popen:
    """Start the workflow."""
    command = [sys.executable, "-P", "-m", "snakemake", "--cores", "2", "--configfile", "tiny.yaml"]
    with open(folder / "snakemake.log", "ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)


def hit(folder: Path, workflow: subprocess.Popen, chance: random.Random) -> tuple[str, signal.Signals] | None:
    """Kill the workflow itself or one of its jobs; return what was hit and how, or None if it was not there."""
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


def wait_until_all_are_gone(folder: Path) -> None:
    """Wait for what a killed Snakemake left to end by itself; give the folder free as a user would."""
    end = time.monotonic() + 60
    while processes(folder):
        if time.monotonic() > end:
            raise TimeoutError(f"still at work in {folder}: {processes(folder)}")
        time.sleep(0.1)
    snakemake(folder, "--unlock")


def gone_on(folder: Path) -> set[tuple[str, int]]:
    """Return the logs of all trainings of late that went on from a snapshot, with the times of their last words."""
    logs = [*folder.glob("logs/**/train.log*"), *folder.glob("logs/**/base.log*")]  # of the last two attempts
    resumed = [log for log in logs if "goes on from" in log.read_text(errors="replace")]
    return {(str(log).removesuffix(".before"), log.stat().st_mtime_ns) for log in resumed}


def torment(folder: Path, kills: int, expected: dict) -> tuple[Counter, int, int]:
    """Kill, run again, and compare each time that the workflow is done.

    Returns what was hit, how often the workflow ended and how many trainings went on from a snapshot, as far as it is
    known: where Snakemake has tried one three times before it ended, only the last two have left their logs.
    """
    chance, hits, ends, resumed = random.Random(7), Counter(), 0, set()
    while True:
        workflow, fatal = start(folder), False
        while hits.total() < kills and workflow.poll() is None:
            if done := hit(folder, workflow, chance):
                hits[done] += 1
                fatal = fatal or done[0] not in RETRIED
                print(f"{hits.total()}: {done[0]}, {SIGNALS[done[1]]}", flush=True)
        failed = workflow.wait() != 0
        wait_until_all_are_gone(folder)
        resumed |= gone_on(folder)
        assert fatal or not failed, (folder / "snakemake.log").read_text()[-5000:]
        if not failed:
            compare(results(folder), expected)
            ends += 1
            print("ended as it should", flush=True)
            if hits.total() == kills:
                assert resumed or kills < 20, "no training went on from a snapshot"
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

The workflow finished {ends} times, the last time after the last kill. After each other time, it started again without
results. Each time, all {files} result files (tables, translations, weights, histories, figures and records) were those
of an uninterrupted run, except for times.

| hit | {" | ".join(SIGNALS.values())} |
| --- | {" | ".join("---:" for _ in SIGNALS)} |
{chr(10).join(lines)}
"""


def main(kills: int) -> None:
    """Run the workflow alone, then torment another."""
    with tempfile.TemporaryDirectory() as place:
        alone = prepare(Path(place) / "alone")
        if start(alone).wait():
            raise RuntimeError((alone / "snakemake.log").read_text())
        expected = results(alone)
        hits, ends, resumed = torment(prepare(Path(place) / "tormented"), kills, expected)
    PAGE.write_text(page(hits, ends, resumed, len(expected)), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
