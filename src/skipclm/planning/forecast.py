"""The forecast of the cost of an experiment, from a few steps of each kind of training.

The workflow runs a small experiment with the same text, model, variants and machine, but with one pair, one cell and
one seed. The measured cost is extrapolated to all runs and steps, and to other pairs by the length of their text.
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

STEPS, STEPS_PER_ROW = 12, 4  # steps of the small trainings, and steps per row of their history
LEASING = ("base model", "trainings", "translations", "neural scores")  # stages that use a GPU
SPECIAL = 3  # special tokens in an example
BASE_STEPS = 30  # steps of the small base model, with 10 steps per row of its history


def make_small(config: dict) -> dict:
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
            section["training"] |= {"steps": STEPS, "log_every": STEPS_PER_ROW, "validations": 1}
        if "skip" in section:
            section["skip"] |= {"warmup_steps": 1}
    # An untrained model generates up to the limit, while a trained one ends near the length of the reference.
    config["evaluation"] |= {"length_ratio": 1.0, "length_extra": 4}
    return config


def texts(config: dict) -> list[str]:
    """Return the encoded texts, as pair/split, that the runs of both experiments read."""
    all_runs = [*Experiment(make_small(config)).runs, *Experiment(config).runs]
    return list(dict.fromkeys(f"{run.pair}/{split}" for run in all_runs for split in ("train", "valid", *run.splits)))


@dataclass(frozen=True)
class _TextLengths:
    """Lengths of text in tokens."""

    example: dict[str, float]  # mean length of a training example, by pair
    split: dict[str, int]  # length of a split, by pair/split

    @classmethod
    def of(cls, config: dict, folder: Path) -> "_TextLengths":
        """Read the encoded texts in a folder."""
        encoded = {text: Examples.load(folder / f"{text}.safetensors") for text in texts(config)}
        example = {}
        for pair in {text.partition("/")[0] for text in encoded}:
            usable = encoded[f"{pair}/train"].within(config["training"]["max_tokens"])
            example[pair] = sum(usable.lengths()) / len(usable) + SPECIAL
        return cls(example, {text: sum(examples.lengths()) for text, examples in encoded.items()})

    def ratio(self, pair: str, split: str, measured_pair: str) -> float:
        """Return the length of a split of a pair, relative to that of the measured pair."""
        return self.split[f"{pair}/{split}"] / self.split[f"{measured_pair}/{split}"]


@dataclass(frozen=True)
class _Durations:
    """The time that the parts of a training take, in seconds."""

    overhead: float  # before and after all steps
    token: float  # per token
    validation: float  # per validation

    @classmethod
    def of(cls, measured: Measured, run: Run) -> "_Durations":
        """Return the speed of a small training, from its record, its history and its benchmark."""
        record = atomic.read_json(measured.results / run.folder / "training.json")
        history = tsv.read(measured.results / run.folder / "history.tsv")
        tokens = record["train_tokens"] / record["train_steps"]
        step = tokens / float(history["tokens_per_second"].iloc[1:].mean())  # the first row includes the setup
        first_row = tokens * STEPS_PER_ROW / float(history["tokens_per_second"].iloc[0])
        validation = max(0.0, record["train_seconds"] - first_row - (STEPS - STEPS_PER_ROW) * step)
        overhead = measured.seconds[f"{run.folder}/train"] - STEPS * step - validation
        return cls(overhead, step / tokens, validation)

    def extrapolate(self, training: dict, length: float, validation_ratio: float) -> tuple[float, float]:
        """Return the tokens and the seconds of a training with these settings.

        `length` is the mean number of tokens in an example. `validation_ratio` is the length of the validation split,
        relative to that of the measured pair.
        """
        tokens = training["steps"] * min(training["batch_size"] * length, training["batch_tokens"] or math.inf)
        validations = training["validations"] * self.validation * validation_ratio
        return tokens, self.overhead + tokens * self.token + validations


def predict(config: dict, root: Path) -> pd.DataFrame:
    """Extrapolate the cost of the small experiment, whose results are in the folder `root`.

    Returns a row for each stage, with jobs, steps, tokens, seconds, memory_mb and, for trainings on a GPU,
    gpu_memory_mb.
    """
    small_config = make_small(config)
    measured = Measured(root, small_config)
    models = {run.name if run.stage == "ablation" else "": run for run in Experiment(small_config).runs}
    rows: dict[str, dict] = {stage: {"jobs": 0, "steps": 0, "tokens": 0.0, "seconds": 0.0} for stage in STAGES}
    text = _TextLengths.of(config, measured.results / "tokens")
    for stage, jobs, steps, tokens, seconds in _run_jobs(config, measured, models, text):
        for key, value in (("jobs", jobs), ("steps", steps), ("tokens", tokens), ("seconds", seconds)):
            rows[stage][key] += value
    for stage, jobs, seconds in _other_jobs(config, small_config, measured):
        rows[stage]["jobs"] += jobs
        rows[stage]["seconds"] += seconds
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("stage")
    table["memory_mb"] = measured.by_stage()["memory_mb"]
    table.loc["trainings", "gpu_memory_mb"] = _gpu_memory(measured, models.values())
    return table[table["jobs"] > 0].reset_index()


def _gpu_memory(measured: Measured, models: Iterable[Run]) -> float:
    """Return the maximum of GPU memory of the small trainings, in MiB; nan without a GPU."""
    records = [measured.results / run.folder / "training.json" for run in models]
    memory = [atomic.read_json(record)["gpu_memory_mb"] for record in records if record.exists()]
    return pd.Series(memory, dtype=float).max()


def _run_jobs(
    config: dict, measured: Measured, models: dict[str, Run], text: _TextLengths
) -> Iterator[tuple[str, int, int, float, float]]:
    """Yield stage, jobs, steps, tokens and seconds of the jobs of each run, from a small run of the same kind."""
    startup = _startup(measured)
    speeds = {name: _Durations.of(measured, run) for name, run in models.items() if run.settings["training"]["enabled"]}
    for run in Experiment(config).runs:
        kind = run.name if run.stage == "ablation" else ""
        model, training = models[kind], run.settings["training"]
        if training["enabled"]:
            ratio = text.ratio(run.pair, "valid", model.pair)
            tokens, seconds = speeds[kind].extrapolate(training, text.example[run.pair], ratio)
            yield "trainings", 1, training["steps"], tokens, seconds
        for split in run.splits:
            ratio = text.ratio(run.pair, split, model.pair)
            for job in [job for job in measured.seconds if job.startswith(f"{model.folder}/{split}.")]:
                yield measured.stage_of(job), 1, 0, 0.0, startup + (measured.seconds[job] - startup) * ratio


def _other_jobs(config: dict, small_config: dict, measured: Measured) -> Iterator[tuple[str, int, float]]:
    """Yield stage, jobs and seconds of jobs outside runs; they grow with the number of pairs or of runs."""
    startup = _startup(measured)
    scratch = config["model"]["scratch"] if config["model"]["source"] == "scratch" else None
    growth = {stage: _count(config, stage) / _count(small_config, stage) for stage in ("grid", "ablation")}
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
            yield stage, 1, startup + (seconds - startup) * growth.get(job.partition("/")[0], 1.0)


def _startup(measured: Measured) -> float:
    """Return the seconds of the shortest job, an estimate of the startup of each job."""
    return min(measured.seconds.values())


def _count(config: dict, stage: str) -> int:
    return sum(run.stage == stage for run in Experiment(config).runs)


def parallel_jobs(config: dict, cores: int) -> dict[str, int]:
    """Return how many jobs of each stage run in parallel on the available GPUs, or otherwise on the cores."""
    gpus = len(devices.visible()) * config["execution"]["jobs_per_gpu"]
    slots = min(gpus, cores) if gpus else cores
    trainings = Counter(run.stage for run in _trainings(config))
    limits = {
        "base model": 1,
        "trainings": min(int(slots / _processes(config)), max(trainings.values())),
        "translations": slots,
        "neural scores": slots if gpus else cores // metrics.NEURAL_CORES,
    }
    return {stage: max(1, limits.get(stage, cores)) for stage in STAGES}


def _trainings(config: dict) -> list[Run]:
    return [run for run in Experiment(config).runs if run.settings["training"]["enabled"]]


def _processes(config: dict) -> float:
    """Return the mean number of processes of a training; each process leases a GPU."""
    return fmean(run.settings["training"]["processes"] for run in _trainings(config))


def wall_clock(table: pd.DataFrame, parallel: dict[str, int]) -> float:
    """Return the seconds from start to end for a table of `predict` and the result of `parallel_jobs`."""
    return (table["seconds"] / _parallel(table, parallel)).sum()


def _parallel(table: pd.DataFrame, parallel: dict[str, int]) -> pd.Series:
    """Return how many jobs of each stage run in parallel, at most all of them."""
    return table["stage"].map(parallel).clip(upper=table["jobs"])


def disk(config: dict, root: Path, parallel_trainings: int) -> dict[str, float]:
    """Return the disk space of an experiment in bytes: its maximum (`peak`) and the space at the end (`final`)."""
    small_config = make_small(config)
    folder = root / "results" / small_config["experiment"]
    variants = {run.name: folder / run.folder for run in Experiment(small_config).runs if run.stage == "ablation"}
    models = {name: _size(path / "model") for name, path in variants.items()}
    largest, files = max(models.values()), max(_size(path) - models[name] for name, path in variants.items())
    weights = [models.get(run.name, largest) for run in _trainings(config) if config[run.stage]["keep_weights"]]
    text = _size(folder / "corpus") + _size(folder / "tokens")
    stays = _size(folder / "base") + text + files * len(Experiment(config).runs) + sum(weights)
    # Each parallel training has its model, one more that waits for its translation, and up to three snapshots of
    # weights and the two moments of the optimizer.
    return {"peak": stays + parallel_trainings * (2 + 3 * 3) * largest, "final": stays}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def to_text(table: pd.DataFrame, config: dict, cores: int, space: dict[str, float]) -> str:
    """Return the results of `predict` and `disk` as text."""
    parallel = parallel_jobs(config, cores)
    memory = (table["memory_mb"] * _parallel(table, parallel)).max()
    lines = [f"{_count(config, 'grid')} runs of the grid, {_count(config, 'ablation')} of the ablation"]
    lines.append(f"{'stage':20}{'jobs':>7}{'steps':>9}{'tokens':>12}{'time':>15}{'MB':>8}")
    for row in table.itertuples():
        tokens = f"{row.tokens / 1e6:.1f} M" if row.tokens else ""
        counts = f"{row.stage:20}{row.jobs:>7}{row.steps or '':>9}{tokens:>12}"
        lines.append(f"{counts}{duration(row.seconds):>15}{row.memory_mb:>8.0f}")
    lines.append(f"{'in all':20}{table['jobs'].sum():>7}{'':21}{duration(table['seconds'].sum()):>15}")
    total = wall_clock(table, parallel)
    gigabytes = {key: f"{value / 1e9:.2f} GB" for key, value in space.items()}
    return "\n".join(
        [
            *lines,
            f"about {duration(total)} on {cores} cores, {parallel['trainings']} trainings at a time",
            f"memory: {memory / 1e3:.1f} GB at most at a time",
            *_gpu_lines(table, config),
            f"disk: {gigabytes['peak']} at its highest point, {gigabytes['final']} in the end",
            "",
        ]
    )


def _gpu_lines(table: pd.DataFrame, config: dict) -> Iterator[str]:
    """Yield lines with the hours of GPUs and with the memory of a training, if there are GPUs."""
    if count := len(devices.visible()):
        leases = dict.fromkeys(LEASING, 1.0) | {"trainings": _processes(config)}
        leased = (table["seconds"] * table["stage"].map(leases)).sum() / config["execution"]["jobs_per_gpu"]
        yield f"GPUs: {duration(leased)} in all, {duration(leased / count)} of each of {count}"
    for megabytes in table["gpu_memory_mb"].dropna():
        yield f"GPU memory: {megabytes / 1e3:.1f} GB for each training"
