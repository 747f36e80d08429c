"""How far an experiment has come, read off the files of its runs while it is under way."""

import os
from collections import Counter
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

LATELY = 20  # jobs of runs that ended last, which tell how many go on at a time
SECTIONS = ("corpus", "model", *runs.METHOD_SECTIONS, "grid", "ablation", "evaluation")  # of a configuration
Took = tuple[float, float]  # seconds of a run's training, and of all that comes after


def report(results: Path) -> str:
    """Say in lines what is done, running, failed and left, which cell is best so far, and how long the rest takes.

    `results` is an experiment's folder. Raises an `InputError` if the workflow was never started for it, or if the
    folder of its base model is gone.
    """
    results = Path(os.path.abspath(results))  # benchmarks lie beside the name, wherever a link leads
    if not (results / cost.CONFIG).exists():
        raise InputError(
            f"expected the results of an experiment, such as results/demo, found no {cost.CONFIG} in {results}; start "
            "the workflow first, or correct the path"
        )
    config = atomic.read_record(results / cost.CONFIG, experiment=str, **dict.fromkeys(SECTIONS, dict))
    with reading(results), chdir(results.parents[1]):  # from where the workflow looks for the base model's folder
        return "\n".join([*_lines(results, config), ""])


def _lines(results: Path, config: dict) -> list[str]:
    found = Experiment(config).runs
    states = {run: state(results, config, run) for run in found}
    lines = [f"{config['experiment']}: {_counts(Counter(states.values()), len(found))}"]
    for stage in ("grid", "ablation"):
        of_stage = [states[run] for run in found if run.stage == stage]
        lines.append(f"  {stage}: {_counts(Counter(of_stage), len(of_stage))}")
    lines += [f"running: {run.folder}{_progress(results, config, run)}" for run in found if states[run] == "running"]
    lines += [f"failed: {run.folder}: {_reason(results, run)}" for run in found if states[run] == "failed"]
    lines += _best(results, config, found, states)
    return lines + _time_left(results, config, found, states)


def state(results: Path, config: dict, run: Run) -> str:
    """Return what a run is: done, failed, running or left, as one is that was trained with other settings.

    So is one that lacks a metric. That its text or its base model has changed is not seen here, before Snakemake has
    begun to make it anew.
    """
    folder = results / run.folder
    if any(map(locks.is_locked, folder.glob("*.attempt"))):
        return "running"
    paths = [folder / f"{split}.scores.json" for split in run.splits]
    if not all(path.exists() for path in paths) or not _is_trained(results, config, run):
        return "left"
    scores = [atomic.read_record(path, status=str, metrics=dict) for path in paths]
    translated = [score["metrics"].keys() for score in scores if score["status"] in score_files.TRANSLATED_STATUSES]
    if not all(set(config["evaluation"]["metrics"]) <= measured for measured in translated):
        return "left"
    return "failed" if any(score["status"] == "failed" for score in scores) else "done"


def _is_trained(results: Path, config: dict, run: Run) -> bool:
    """Tell whether a run has been trained as the configuration has it, or is not to be trained."""
    if not run.settings["training"]["enabled"]:
        return True
    record, choice = results / run.folder / "training.json", results / "grid/best.json"
    best = atomic.read_record(choice).get(run.pair) if choice.exists() else None
    if not record.exists() or (runs.needs_best(run.settings) and not best):
        return False
    wanted = runs.with_layers(run.settings, validation.depth(config), best)
    return atomic.read_record(record, settings=dict)["settings"] == wanted


def _counts(counts: Counter, total: int) -> str:
    parts = [f"{counts[name]} {name}" for name in ("running", "failed", "left") if counts[name]]
    return ", ".join([f"{counts['done']} of {total} runs done", *parts])


def _step(results: Path, run: Run) -> dict | None:
    """Return `step`, `steps` and `loss` of a training under way, None before its first log."""
    file = results / run.folder / FOLDER / PROGRESS
    return atomic.read_record(file, step=int, steps=int) if file.exists() else None


def _progress(results: Path, config: dict, run: Run) -> str:
    """Say at which step a training is, and its loss, or that it is done and the run is translated and scored."""
    if not run.settings["training"]["enabled"]:
        return ""
    if _is_trained(results, config, run):
        return ", trained"
    if not (step := _step(results, run)):
        return ""
    loss = "" if step["loss"] is None else f", loss {step['loss']:.3f}"
    return f", step {step['step']} of {step['steps']}{loss}"


def _share_left(results: Path, config: dict, run: Run, is_running: bool) -> float:
    """Return which share of a run's training is left, by its steps."""
    if run.settings["training"]["enabled"] and _is_trained(results, config, run):
        return 0.0
    if not is_running:
        return 1.0
    step = _step(results, run)
    return 1.0 - step["step"] / step["steps"] if step else 1.0


def _reason(results: Path, run: Run) -> str:
    found = [atomic.read_json(results / run.folder / f"{split}.scores.json").get("reason") for split in run.splits]
    return next(filter(None, found), "")


def _best(results: Path, config: dict, found: list[Run], states: dict[Run, str]) -> list[str]:
    """Say for each pair of the grid which cell is best so far."""
    metric, lines = config["evaluation"]["selection_metric"], []
    for pair in config["grid"]["pairs"]:
        values: dict[str, list[float]] = {}
        for run in found:
            if (run.stage, run.pair) == ("grid", pair) and states[run] in ("done", "failed"):
                score = atomic.read_json(results / run.folder / "valid.scores.json")["metrics"].get(metric, {})
                values.setdefault(run.name, []).append(score.get("value"))
        values = {name: of_seeds for name, of_seeds in values.items() if None not in of_seeds}  # as the selection does
        if values:
            sign = METRICS[metric].sign()
            name = max(values, key=lambda cell: sign * fmean(values[cell]))
            seeds = f"{len(values[name])} of {len(config['grid']['seeds'])} seeds"
            lines.append(f"best so far on {pair}: {name}, {METRICS[metric].label} {fmean(values[name]):.1f} ({seeds})")
    return lines


def _kind(run: Run) -> tuple[str, bool]:
    """Tell what a run's time is like that of others by: its stage, and whether it is trained."""
    return run.stage, run.settings["training"]["enabled"]


def _of_runs_like(run: Run, took: dict[tuple[str, bool], list[Took]]) -> list[Took]:
    """Return what runs of its kind took, or else those of the other stage; none says nothing of trainings."""
    stage, trained = _kind(run)
    alike = [each for kind, runs_of_it in took.items() if kind[1] >= trained for each in runs_of_it]
    return took.get((stage, trained)) or alike


def _time_left(results: Path, config: dict, found: list[Run], states: dict[Run, str]) -> list[str]:
    """Say how long the runs that are left take, if those done so far are like them."""
    measured = cost.Measured(results.parents[1], config)
    took: dict[tuple[str, bool], list[Took]] = {}
    for run in found:
        jobs = {job: seconds for job, seconds in measured.seconds.items() if job.startswith(f"{run.folder}/")}
        if jobs and states[run] == "done":
            training = jobs.pop(f"{run.folder}/train", 0.0)
            took.setdefault(_kind(run), []).append((training, sum(jobs.values())))
    left = [run for run in found if states[run] in ("left", "running")]
    if not left or not all(_of_runs_like(run, took) for run in left):
        return []
    seconds = 0.0
    for run in left:
        trainings, others = zip(*_of_runs_like(run, took), strict=True)
        seconds += _share_left(results, config, run, states[run] == "running") * fmean(trainings) + fmean(others)
    together = min(len(left), _at_a_time(measured, sum(states[run] == "running" for run in found)))
    return [f"left: about {cost.duration(seconds / together)}, with {together} at a time"]


def _at_a_time(measured: cost.Measured, running: int) -> int:
    """Return how many runs go on at a time: as many as did lately, and no fewer than just now."""
    jobs = [job for job in measured.ended if measured.stage_of(job) in cost.RUNS]
    lately = sorted(jobs, key=measured.ended.__getitem__)[-LATELY:]
    begun = [measured.ended[job] - measured.seconds[job] for job in lately]
    span = max(measured.ended[job] for job in lately) - min(begun)
    return max(1, running, round(sum(measured.seconds[job] for job in lately) / span))
