"""The progress of an experiment, read from the files of its runs."""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import chdir
from pathlib import Path
from statistics import fmean

from skipclm.config import runs, validation
from skipclm.config.experiment import Experiment, Run
from skipclm.errors import InputError, reading
from skipclm.evaluation import score_files
from skipclm.evaluation.metrics import METRICS
from skipclm.planning import cost
from skipclm.runtime import atomic, locks
from skipclm.runtime.snapshots import FOLDER, PROGRESS

RECENT = 20  # the number of last jobs from which the parallelism is estimated
SECTIONS = ("corpus", "model", *runs.METHOD_SECTIONS, "grid", "ablation", "evaluation")  # of a configuration
Seconds = tuple[float, float]  # of the training of a run, and of its other jobs


def report(results: Path) -> str:
    """Return lines with the counts of done, running, failed and left runs, the best cells, and the time left.

    `results` is the folder of an experiment. Raises an `InputError` if the workflow was never started for it, or if
    the folder of its base model is missing.
    """
    results = Path(os.path.abspath(results))  # not `resolve`: benchmarks are beside a link, not its target
    if not (results / cost.CONFIG).exists():
        raise InputError(
            f"expected the results of an experiment, such as results/demo, found no {cost.CONFIG} in {results}; start "
            "the workflow first, or correct the path"
        )
    config = atomic.read_record(results / cost.CONFIG, experiment=str, **dict.fromkeys(SECTIONS, dict))
    with reading(results), chdir(results.parents[1]):  # the path of the base model is relative to this folder
        return "\n".join([*_lines(results, config), ""])


def _lines(results: Path, config: dict) -> list[str]:
    states = {run: state(results, config, run) for run in Experiment(config).runs}
    lines = [f"{config['experiment']}: {_counts(states.values())}"]
    for stage in ("grid", "ablation"):
        lines.append(f"  {stage}: {_counts(states[run] for run in states if run.stage == stage)}")
    lines += [f"running: {run.folder}{_progress(results, config, run)}" for run in states if states[run] == "running"]
    lines += [f"failed: {run.folder}: {_reason(results, run)}" for run in states if states[run] == "failed"]
    return [*lines, *_best(results, config, states), *_time_left(results, config, states)]


def state(results: Path, config: dict, run: Run) -> str:
    """Return the state of a run: done, failed, running or left.

    A run counts as left if it was trained with other settings or if one of the metrics is missing. If the text or the
    base model has changed, a run still counts as done until Snakemake reruns the first of its jobs.
    """
    folder = results / run.folder
    if any(map(locks.is_locked, folder.glob("*.attempt"))):
        return "running"
    paths = [folder / f"{split}.scores.json" for split in run.splits]
    if not all(path.exists() for path in paths) or not _is_trained(results, config, run):
        return "left"
    scores = [atomic.read_record(path, status=str, metrics=dict) for path in paths]
    measured = [score["metrics"].keys() for score in scores if score["status"] in score_files.TRANSLATED_STATUSES]
    if not all(set(config["evaluation"]["metrics"]) <= metrics for metrics in measured):
        return "left"
    return "failed" if any(score["status"] == "failed" for score in scores) else "done"


def _is_trained(results: Path, config: dict, run: Run) -> bool:
    """Return whether a run was trained with the settings of the configuration, or needs no training."""
    if not run.settings["training"]["enabled"]:
        return True
    record, choice = results / run.folder / "training.json", results / "grid/best.json"
    best = atomic.read_record(choice).get(run.pair) if choice.exists() else None
    if not record.exists() or (runs.needs_best(run.settings) and not best):
        return False
    settings = runs.with_layers(run.settings, validation.depth(config), best)
    return atomic.read_record(record, settings=dict)["settings"] == settings


def _counts(states: Iterable[str]) -> str:
    counts = Counter(states)
    parts = [f"{counts[name]} {name}" for name in ("running", "failed", "left") if counts[name]]
    return ", ".join([f"{counts['done']} of {counts.total()} runs done", *parts])


def _step(results: Path, run: Run) -> dict | None:
    """Return `step`, `steps` and `loss` of a running training, or None before its first log."""
    file = results / run.folder / FOLDER / PROGRESS
    return atomic.read_record(file, step=int, steps=int) if file.exists() else None


def _progress(results: Path, config: dict, run: Run) -> str:
    """Return the step and the loss of a training; ", trained" while the run is translated and scored."""
    if not run.settings["training"]["enabled"]:
        return ""
    if _is_trained(results, config, run):
        return ", trained"
    if not (step := _step(results, run)):
        return ""
    loss = "" if step["loss"] is None else f", loss {step['loss']:.3f}"
    return f", step {step['step']} of {step['steps']}{loss}"


def _share_left(results: Path, config: dict, run: Run, is_running: bool) -> float:
    """Return the share of steps of a training that is left."""
    if run.settings["training"]["enabled"] and _is_trained(results, config, run):
        return 0.0
    if not is_running:
        return 1.0
    step = _step(results, run)
    return 1.0 - step["step"] / step["steps"] if step else 1.0


def _reason(results: Path, run: Run) -> str:
    reasons = [atomic.read_json(results / run.folder / f"{split}.scores.json").get("reason") for split in run.splits]
    return next(filter(None, reasons), "")


def _best(results: Path, config: dict, states: dict[Run, str]) -> list[str]:
    """Return a line with the best cell so far for each pair of the grid."""
    metric, lines = config["evaluation"]["selection_metric"], []
    for pair in config["grid"]["pairs"]:
        values: dict[str, list[float]] = {}
        for run in states:
            if (run.stage, run.pair) == ("grid", pair) and states[run] in ("done", "failed"):
                score = atomic.read_json(results / run.folder / "valid.scores.json")["metrics"].get(metric, {})
                values.setdefault(run.name, []).append(score.get("value"))
        # As in the selection, a cell without a value for some seed is not chosen.
        values = {name: seed_values for name, seed_values in values.items() if None not in seed_values}
        if values:
            sign = METRICS[metric].sign()
            name = max(values, key=lambda cell: sign * fmean(values[cell]))
            seeds = f"{len(values[name])} of {len(config['grid']['seeds'])} seeds"
            lines.append(f"best so far on {pair}: {name}, {METRICS[metric].label} {fmean(values[name]):.1f} ({seeds})")
    return lines


def _kind(run: Run) -> tuple[str, bool]:
    """Return the kind of a run: its stage, and whether it is trained. Runs of a kind take a similar time."""
    return run.stage, run.settings["training"]["enabled"]


def _seconds_of_similar(run: Run, seconds: dict[tuple[str, bool], list[Seconds]]) -> list[Seconds]:
    """Return the seconds of finished runs of the same kind.

    If there are none, return those of the runs of both stages, without untrained runs if `run` is trained.
    """
    stage, is_trained = _kind(run)
    similar = [entry for kind, entries in seconds.items() if kind[1] >= is_trained for entry in entries]
    return seconds.get((stage, is_trained)) or similar


def _time_left(results: Path, config: dict, states: dict[Run, str]) -> list[str]:
    """Return a line with the time for the runs that are left, estimated from similar runs that are done."""
    measured = cost.Measured(results.parents[1], config)
    done: dict[tuple[str, bool], list[Seconds]] = {}
    for run in states:
        jobs = {job: seconds for job, seconds in measured.seconds.items() if job.startswith(f"{run.folder}/")}
        if jobs and states[run] == "done":
            training = jobs.pop(f"{run.folder}/train", 0.0)
            done.setdefault(_kind(run), []).append((training, sum(jobs.values())))
    left = [run for run in states if states[run] in ("left", "running")]
    if not left or not all(_seconds_of_similar(run, done) for run in left):
        return []
    seconds = 0.0
    for run in left:
        trainings, others = zip(*_seconds_of_similar(run, done), strict=True)
        seconds += _share_left(results, config, run, states[run] == "running") * fmean(trainings) + fmean(others)
    parallel = min(len(left), _parallel_runs(measured, list(states.values()).count("running")))
    return [f"left: about {cost.duration(seconds / parallel)}, with {parallel} at a time"]


def _parallel_runs(measured: cost.Measured, running: int) -> int:
    """Return how many runs go on in parallel, estimated from the last jobs; at least those that are running now."""
    jobs = [job for job in measured.ended if measured.stage_of(job) in cost.RUNS]
    recent = sorted(jobs, key=measured.ended.__getitem__)[-RECENT:]
    starts = [measured.ended[job] - measured.seconds[job] for job in recent]
    span = max(measured.ended[job] for job in recent) - min(starts)
    return max(1, running, round(sum(measured.seconds[job] for job in recent) / span))
