"""What an experiment will cost, known from a few steps of each of its trainings.

The few steps are the workflow's own, of a small experiment with the same text, model, variants and machine: one pair,
one cell, one seed. What its jobs took is counted up to all runs and steps, with the text of other pairs by its length.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

from skipclm.config import runs, validation
from skipclm.config.experiment import Experiment, Run
from skipclm.data.examples import Examples
from skipclm.evaluation import metrics
from skipclm.planning.cost import STAGES, Measured, duration
from skipclm.runtime import atomic, devices, tsv

STEPS, ROW = 12, 4  # of the small trainings, and from one row of their history to the next
LEASING = ("base model", "trainings", "translations", "neural scores")  # a GPU, where there is one
SPECIAL = 3  # tokens around the two sentences of a pair
BASE_STEPS = 30  # of the small base model, whose history has a row every ten


def small(config: dict) -> dict:
    """Return the configuration of the small experiment."""
    config = deepcopy(config)
    pair = config["grid"]["pairs"][0]
    cell = runs.grid_cells(config["grid"], validation.depth(config))[0]
    config["experiment"] += ".plan"
    config["grid"]["pairs"] = config["ablation"]["pairs"] = [pair]
    config["grid"] |= {key: [layer] for key, layer in vars(cell).items()} | {"constraints": []}
    config["model"]["scratch"]["steps"] = BASE_STEPS
    for stage in ("grid", "ablation"):
        config[stage] |= {"seeds": config[stage]["seeds"][:1], "keep_weights": True}
    for section in (config, *runs.variants(config).values()):
        if "training" in section:
            section["training"] |= {"steps": STEPS, "log_every": ROW, "validations": 1}
        if "skip" in section:
            section["skip"] |= {"warmup_steps": 1}
    # Hardly trained models would go on to the limit, others end about where the reference does.
    config["evaluation"] |= {"length_ratio": 1.0, "length_extra": 4}
    return config


def texts(config: dict) -> list[str]:
    """Return the encoded text, as pair/split, that all runs read, those of the small experiment too."""
    found = [*Experiment(small(config)).runs, *Experiment(config).runs]
    read = [f"{run.pair}/{split}" for run in found for split in ("train", "valid", *run.splits)]
    return list(dict.fromkeys(read))


@dataclass(frozen=True)
class _Text:
    """How much text there is, in tokens."""

    example: dict[str, float]  # of the mean example that a pair trains on
    split: dict[str, int]  # in all of a split, by pair/split

    @classmethod
    def of(cls, config: dict, folder: Path) -> "_Text":
        """Read the encoded text in a folder."""
        found = {text: Examples.load(folder / f"{text}.safetensors") for text in texts(config)}
        example = {}
        for pair in {text.partition("/")[0] for text in found}:
            used = found[f"{pair}/train"].within(config["training"]["max_tokens"])
            example[pair] = sum(used.lengths()) / len(used) + SPECIAL
        return cls(example, {text: sum(examples.lengths()) for text, examples in found.items()})

    def longer(self, pair: str, split: str, measured: str) -> float:
        """Return how much text a pair's split has, of that of the measured pair."""
        return self.split[f"{pair}/{split}"] / self.split[f"{measured}/{split}"]


@dataclass(frozen=True)
class _Speed:
    """Seconds of a training: before and after its steps, of one token, and of one validation."""

    around: float
    token: float
    validation: float

    @classmethod
    def of(cls, measured: Measured, run: Run) -> "_Speed":
        """Return the speed of a small training, by its record, its history and its benchmark."""
        record = atomic.read_json(measured.results / run.folder / "training.json")
        history = tsv.read(measured.results / run.folder / "history.tsv")
        tokens = record["train_tokens"] / record["train_steps"]
        step = tokens / float(history["tokens_per_second"].iloc[1:].mean())  # the first row has much to set up
        slow = tokens * ROW / float(history["tokens_per_second"].iloc[0])
        validation = max(0.0, record["train_seconds"] - slow - (STEPS - ROW) * step)
        around = measured.seconds[f"{run.folder}/train"] - STEPS * step - validation
        return cls(around, step / tokens, validation)

    def of_training(self, training: dict, length: float, longer: float) -> tuple[float, float]:
        """Return the tokens and the seconds of a training with these settings.

        Its examples have so many tokens (`length`), and its validations so many times as many as the measured ones
        (`longer`).
        """
        tokens = training["steps"] * min(training["batch_size"] * length, training["batch_tokens"] or math.inf)
        validations = training["validations"] * self.validation * longer
        return tokens, self.around + tokens * self.token + validations


def predict(config: dict, root: Path) -> pd.DataFrame:
    """Count up what the small experiment took.

    A row for each stage, with jobs, steps, tokens, seconds, memory_mb and, for trainings on a GPU, gpu_memory_mb.
    """
    mini = small(config)
    measured = Measured(root, mini)
    models = {run.name if run.stage == "ablation" else "": run for run in Experiment(mini).runs}
    rows: dict[str, dict] = {stage: {"jobs": 0, "steps": 0, "tokens": 0.0, "seconds": 0.0} for stage in STAGES}
    text = _Text.of(config, measured.results / "tokens")
    for stage, jobs, steps, tokens, seconds in _of_runs(config, measured, models, text):
        for key, value in (("jobs", jobs), ("steps", steps), ("tokens", tokens), ("seconds", seconds)):
            rows[stage][key] += value
    for stage, jobs, seconds in _of_the_rest(config, mini, measured):
        rows[stage]["jobs"] += jobs
        rows[stage]["seconds"] += seconds
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("stage")
    table["memory_mb"] = measured.by_stage()["memory_mb"]
    table.loc["trainings", "gpu_memory_mb"] = _gpu_memory(measured, models.values())
    return table[table["jobs"] > 0].reset_index()


def _gpu_memory(measured: Measured, models: Iterable[Run]) -> float:
    """Return the most that a small training took of a GPU, in MiB; nan without one."""
    records = [measured.results / run.folder / "training.json" for run in models]
    found = [atomic.read_json(record)["gpu_memory_mb"] for record in records if record.exists()]
    return pd.Series(found, dtype=float).max()


def _of_runs(
    config: dict, measured: Measured, models: dict[str, Run], text: _Text
) -> Iterator[tuple[str, int, int, float, float]]:
    """Yield stage, jobs, steps, tokens and seconds of each run's jobs, from those of the small run that it is like."""
    start = _start(measured)
    speeds = {name: _Speed.of(measured, run) for name, run in models.items() if run.settings["training"]["enabled"]}
    for run in Experiment(config).runs:
        like = run.name if run.stage == "ablation" else ""
        model, training = models[like], run.settings["training"]
        if training["enabled"]:
            longer = text.longer(run.pair, "valid", model.pair)
            tokens, seconds = speeds[like].of_training(training, text.example[run.pair], longer)
            yield "trainings", 1, training["steps"], tokens, seconds
        for split in run.splits:
            longer = text.longer(run.pair, split, model.pair)
            for job in [job for job in measured.seconds if job.startswith(f"{model.folder}/{split}.")]:
                yield measured.stage_of(job), 1, 0, 0.0, start + (measured.seconds[job] - start) * longer


def _of_the_rest(config: dict, mini: dict, measured: Measured) -> Iterator[tuple[str, int, float]]:
    """Yield stage, jobs and seconds of all that is no run: by the pairs that it is of, or the runs that it reads."""
    start = _start(measured)
    scratch = config["model"]["scratch"] if config["model"]["source"] == "scratch" else None
    grown = {stage: _count(config, stage) / _count(mini, stage) for stage in ("grid", "ablation")}
    for job, seconds in measured.seconds.items():
        stage = measured.stage_of(job)
        if job == "base" and scratch:
            history = tsv.read(measured.results / "base/history.tsv")
            step = scratch["batch_tokens"] / float(history["tokens_per_second"].iloc[1:].mean())
            yield stage, 1, seconds + (scratch["steps"] - BASE_STEPS) * step
        elif stage in ("corpus", "base model"):
            yield stage, 1, seconds
        elif job.startswith("figures/grid"):
            yield stage, len(config["grid"]["pairs"]), seconds * len(config["grid"]["pairs"])
        elif job.endswith(".translations"):
            yield stage, len(runs.ablation_pairs(config)), seconds * len(runs.ablation_pairs(config))
        elif stage == "tables and figures":
            yield stage, 1, start + (seconds - start) * grown.get(job.partition("/")[0], 1.0)


def _start(measured: Measured) -> float:
    """Return the seconds that each job takes to start, by the shortest."""
    return min(measured.seconds.values())


def _count(config: dict, stage: str) -> int:
    return sum(run.stage == stage for run in Experiment(config).runs)


def at_a_time(config: dict, cores: int) -> dict[str, int]:
    """Return how many jobs of each stage run at a time on so many cores, or on the GPUs that there are."""
    gpus = len(devices.visible()) * config["execution"]["jobs_per_gpu"]
    room = min(gpus, cores) if gpus else cores
    trained = Counter(run.stage for run in _trainings(config))
    most = {
        "base model": 1,
        "trainings": min(int(room / _processes(config)), max(trained.values())),
        "translations": room,
        "neural scores": room if gpus else cores // metrics.NEURAL_CORES,
    }
    return {stage: max(1, most.get(stage, cores)) for stage in STAGES}


def _trainings(config: dict) -> list[Run]:
    return [run for run in Experiment(config).runs if run.settings["training"]["enabled"]]


def _processes(config: dict) -> float:
    """Return how many processes a training has in the mean, each of which leases a GPU."""
    return fmean(run.settings["training"]["processes"] for run in _trainings(config))


def wall_clock(table: pd.DataFrame, together: dict[str, int]) -> float:
    """Return the seconds that the stages of `predict` take, where so many of their jobs run at a time."""
    return (table["seconds"] / _at_once(table, together)).sum()


def _at_once(table: pd.DataFrame, together: dict[str, int]) -> pd.Series:
    """Return how many jobs of each stage run at a time, of those that there are."""
    return table["stage"].map(together).clip(upper=table["jobs"])


def disk(config: dict, root: Path, together: int) -> dict[str, float]:
    """Return the bytes that an experiment takes at its `highest`, and that it leaves in the end (`stays`)."""
    mini = small(config)
    folder, found = root / "results" / mini["experiment"], Experiment(config).runs
    like = {run.name: folder / run.folder for run in Experiment(mini).runs if run.stage == "ablation"}
    models = {name: _size(path / "model") for name, path in like.items()}
    largest, files = max(models.values()), max(_size(path) - models[name] for name, path in like.items())
    kept = [run for run in _trainings(config) if config[run.stage]["keep_weights"]]
    text = _size(folder / "corpus") + _size(folder / "tokens")
    stays = _size(folder / "base") + text + files * len(found) + sum(models.get(run.name, largest) for run in kept)
    # Beside it a training has up to three snapshots, of weights and the optimiser's two moments; and as many models as
    # there are trainings wait to be translated with.
    return {"highest": stays + together * (2 + 3 * 3) * largest, "stays": stays}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def to_text(table: pd.DataFrame, config: dict, cores: int, space: dict[str, float]) -> str:
    """Say what `predict` and `disk` found."""
    together = at_a_time(config, cores)
    memory = (table["memory_mb"] * _at_once(table, together)).max()
    lines = [f"{_count(config, 'grid')} runs of the grid, {_count(config, 'ablation')} of the ablation"]
    lines.append(f"{'stage':20}{'jobs':>7}{'steps':>9}{'tokens':>12}{'time':>15}{'MB':>8}")
    for row in table.itertuples():
        tokens = f"{row.tokens / 1e6:.1f} M" if row.tokens else ""
        counts = f"{row.stage:20}{row.jobs:>7}{row.steps or '':>9}{tokens:>12}"
        lines.append(f"{counts}{duration(row.seconds):>15}{row.memory_mb:>8.0f}")
    lines.append(f"{'in all':20}{table['jobs'].sum():>7}{'':21}{duration(table['seconds'].sum()):>15}")
    total = wall_clock(table, together)
    gigabytes = {key: f"{value / 1e9:.2f} GB" for key, value in space.items()}
    return "\n".join(
        [
            *lines,
            f"about {duration(total)} on {cores} cores, {together['trainings']} trainings at a time",
            f"memory: {memory / 1e3:.1f} GB at most at a time",
            *_of_gpus(table, config),
            f"disk: {gigabytes['highest']} at its highest point, {gigabytes['stays']} in the end",
            "",
        ]
    )


def _of_gpus(table: pd.DataFrame, config: dict) -> Iterator[str]:
    """Say how long the GPUs that there are will be leased, and how much of their memory a training takes."""
    if count := len(devices.visible()):
        leases = dict.fromkeys(LEASING, 1.0) | {"trainings": _processes(config)}
        leased = (table["seconds"] * table["stage"].map(leases)).sum() / config["execution"]["jobs_per_gpu"]
        yield f"GPUs: {duration(leased)} in all, {duration(leased / count)} of each of {count}"
    for most in table["gpu_memory_mb"].dropna():
        yield f"GPU memory: {most / 1e3:.1f} GB for each training"
