"""Of which runs an experiment consists, and what its jobs took, by Snakemake's benchmarks of them."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from skipclm.config import runs, validation
from skipclm.evaluation import metrics
from skipclm.runtime import console, storage, tsv

# In the folder of results: the configuration that the workflow was last started with, what was predicted and of which
# configuration, what it took.
CONFIG, FORECAST, COST = "config.json", "forecast.json", "cost.tsv"
# The folder of benchmarks says of which stage a job is; the first pattern that fits counts.
_RUN = r"(grid|ablation)/[^/]+/[^/]+/seed\d+"
STAGES = {
    "corpus": r"corpus(\..*)?|overlap|tokens/.*",
    "base model": r"base|trial",
    "trainings": rf"{_RUN}/train",
    "translations": rf"{_RUN}/\w+\.translate",
    "scores": rf"{_RUN}/\w+\.score",
    "neural scores": rf"{_RUN}/\w+\.({'|'.join(metrics.NEURAL)})",
    "tables and figures": r".*",
}
RUNS = ("trainings", "translations", "scores", "neural scores")  # stages of which each job is a run's


@dataclass(frozen=True, eq=False)
class Run:
    """A run of grid or ablation: one seed of a cell or variant on a pair."""

    stage: str
    pair: str
    name: str
    seed: int
    settings: dict
    splits: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where its files lie, in the folders of results, logs and benchmarks."""
        return f"{self.stage}/{self.pair}/{self.name}/seed{self.seed}"

    def jobs(self, neural: list[str]) -> list[str]:
        """Return the names of its jobs, where so many metrics are `neural`, by their benchmarks."""
        steps = [f"{split}.{step}" for split in self.splits for step in ("translate", "score", *neural)]
        return [f"{self.folder}/{step}" for step in ("train", *steps)]


def all_runs(config: dict) -> list[Run]:
    """Return all runs of a checked configuration."""
    cells = {c.name: runs.cell_settings(config, c) for c in runs.grid_cells(config["grid"], validation.depth(config))}
    variants = {name: runs.variant_settings(config, name) for name in runs.variants(config)}
    tests = tuple(runs.test_sets(config))
    found = []
    for stage, pairs, systems, splits in (
        ("grid", config["grid"]["pairs"], cells, ("valid",)),
        ("ablation", runs.ablation_pairs(config), variants, tests),
    ):
        for pair in pairs:
            for name, settings in systems.items():
                found += [Run(stage, pair, name, seed, settings, splits) for seed in config[stage]["seeds"]]
    return found


class Measured:
    """What the jobs of an experiment took: seconds, memory and when they ended, by the names of their benchmarks.

    Of a job that was tried several times, the last is known, and of a training all that its snapshots have behind them.
    What is no longer asked for does not count.
    """

    def __init__(self, root: Path, config: dict) -> None:
        self.results, folder = (root / place / config["experiment"] for place in ("results", "benchmarks"))
        neural = [name for name in config["evaluation"]["metrics"] if name in metrics.NEURAL]
        asked = {job for run in all_runs(config) for job in run.jobs(neural)}
        splits = ("train", "valid", *runs.test_sets(config))
        asked |= {
            f"tokens/{pair}/{split}{step}" for pair in config["pairs"] for split in splits for step in ("", ".check")
        }
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        for path in folder.rglob("*.tsv"):
            job = str(path.relative_to(folder).with_suffix(""))
            is_asked = job in asked or not (stage_of(job) in RUNS or job.startswith("tokens/"))
            if is_asked and (last := _last(path)):
                seconds, self.memory[job] = last
                self.seconds[job] = max(seconds, self._trained(job))
                self.ended[job] = path.stat().st_mtime

    def _trained(self, job: str) -> float:
        """Return the seconds that a training took over all its attempts; none for another job, or one that failed."""
        record = self.results / job.removesuffix("/train") / "training.json"
        is_known = job.endswith("/train") and record.exists()
        return storage.read_record(record).get("train_seconds", 0.0) if is_known else 0.0

    def by_stage(self) -> pd.DataFrame:
        """Return a row for each stage: jobs, seconds, memory_mb."""
        table = pd.DataFrame(
            [(stage_of(job), self.seconds[job], self.memory[job]) for job in self.seconds],
            columns=["stage", "seconds", "memory_mb"],
        )
        return table.groupby("stage").agg(
            jobs=("seconds", "size"), seconds=("seconds", "sum"), memory_mb=("memory_mb", "max")
        )


def _last(benchmark: Path) -> list[float] | None:
    """Return seconds and memory of a job's last attempt; "NA" of one too short to be looked at becomes nan.

    None for a file that Snakemake is about to write, or was when the machine went away.
    """
    if len(benchmark.read_bytes().splitlines()) < 2:
        return None
    return tsv.read(benchmark, ["s", "max_rss"]).iloc[-1].astype(float).tolist()


def stage_of(job: str) -> str:
    """Return the stage of a job, by the name of its benchmark."""
    return next(stage for stage, pattern in STAGES.items() if re.fullmatch(pattern, job))


def write_cost(root: Path, config: dict) -> str:
    """Set what an experiment took beside what was predicted of this very one, in its cost.tsv; return that in words.

    Columns: stage, jobs, hours (of all jobs, one after the other), memory_mb, and jobs_predicted and hours_predicted.
    """
    folder = root / "results" / config["experiment"]
    table = Measured(root, config).by_stage().reindex(list(STAGES)).fillna({"jobs": 0, "seconds": 0.0})
    table[["jobs_predicted", "seconds_predicted"]] = float("nan")
    forecast = storage.read_record(folder / FORECAST) if (folder / FORECAST).exists() else {}
    if forecast.get("config") == config:
        predicted = pd.DataFrame(forecast["stages"]).set_index("stage")
        table[["jobs_predicted", "seconds_predicted"]] = predicted[["jobs", "seconds"]]
    table = table[(table["jobs"] > 0) | (table["jobs_predicted"] > 0)]
    tsv.write(folder / COST, _in_hours(table).reset_index())
    table.loc["in all"] = table.sum(skipna=False)
    beside = "" if table["seconds_predicted"].isna().all() else ", and what was predicted"
    lines = [f"What all jobs took, one after the other{beside}"]
    for row in table.itertuples():
        guess = "" if pd.isna(row.seconds_predicted) else duration(row.seconds_predicted)
        lines.append(f"{row.Index:20}{duration(row.seconds):>12}{guess:>12}".rstrip())
    return "\n".join([*lines, ""])


def conclude(report: Path, root: Path, config: dict) -> None:
    """Write the experiment's cost.tsv, then show its report and its cost on standard output; raise nothing.

    All is done by then: a terminal that cannot show it, or a disk that has no room for the table, undoes nothing.
    """
    try:
        took = write_cost(root, config)
    except Exception as error:
        took = f"The cost of the experiment could not be written: {error}\n"
    console.show(f"{report.read_text(encoding='utf-8')}\n{took}\n")


def _in_hours(table: pd.DataFrame) -> pd.DataFrame:
    table = table.astype({"jobs": "Int64", "jobs_predicted": "Int64"})
    hours = {name: name.replace("seconds", "hours") for name in ("seconds", "seconds_predicted")}
    return table.assign(**{name: table[name] / 3600 for name in hours}).rename(columns=hours)


def duration(seconds: float) -> str:
    """Say how long something takes, by hours and minutes, or minutes and seconds."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {left} s"
