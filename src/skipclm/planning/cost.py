"""The measured cost of an experiment, from Snakemake's benchmarks of its jobs."""

from pathlib import Path

import pandas as pd

from skipclm.config.experiment import Experiment, Run
from skipclm.runtime import atomic, console, tsv

# Files in the folder of results: the configuration of the last start of the workflow, the forecast with its
# configuration, and the measured cost.
CONFIG, FORECAST, COST = "config.json", "forecast.json", "cost.tsv"
# Kinds of jobs, in the order of the tables. Each job of a kind in RUNS belongs to one run.
RUNS = ("trainings", "translations", "scores", "neural scores")
STAGES = ("corpus", "base model", *RUNS, "tables and figures")
PREPARATION = {"corpus": "corpus", "overlap": "corpus", "base": "base model", "trial": "base model"}


class Measured:
    """Seconds, memory in MB and end times (as time stamps) of the jobs of an experiment, by name of benchmark.

    Of a job with several attempts, only the last one is measured, but the seconds of a training include all attempts.
    Jobs that the configuration no longer needs do not count.
    """

    def __init__(self, root: Path, config: dict) -> None:
        self.experiment = Experiment(config)
        self.results, folder = (root / place / config["experiment"] for place in ("results", "benchmarks"))
        self._kinds: dict[str, str] = {}
        for run in self.experiment.runs:
            self._kinds |= run.jobs(self.experiment.neural_metrics)
        for pair in self.experiment.pairs:
            for split in self.experiment.splits:
                self._kinds |= dict.fromkeys((f"tokens/{pair}/{split}", f"tokens/{pair}/{split}.check"), "corpus")
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        for path in folder.rglob("*.tsv"):
            job = str(path.relative_to(folder).with_suffix(""))
            if self._is_needed(job) and (last := _read_last_attempt(path)):
                seconds, self.memory[job] = last
                self.seconds[job] = max(seconds, self._training_seconds(job))
                self.ended[job] = path.stat().st_mtime

    def _is_needed(self, job: str) -> bool:
        """Return whether the configuration needs a job; there may be runs and tokens of earlier configurations."""
        is_of_run = job.count("/") == Run.PATTERN.count("/") + 1
        return job in self._kinds or not (is_of_run or job.startswith("tokens/"))

    def stage_of(self, job: str) -> str:
        """Return the kind of a job, one of STAGES, from the name of its benchmark."""
        return self._kinds.get(job) or PREPARATION.get(job.partition(".")[0], "tables and figures")

    def _training_seconds(self, job: str) -> float:
        """Return the seconds of all attempts of a training; 0 for another job or a failed training."""
        record = self.results / job.removesuffix("/train") / "training.json"
        has_record = job.endswith("/train") and record.exists()
        return atomic.read_record(record).get("train_seconds", 0.0) if has_record else 0.0

    def by_stage(self) -> pd.DataFrame:
        """Return a row for each stage: jobs, seconds, memory_mb."""
        table = pd.DataFrame(
            [(self.stage_of(job), self.seconds[job], self.memory[job]) for job in self.seconds],
            columns=["stage", "seconds", "memory_mb"],
        )
        return table.groupby("stage").agg(
            jobs=("seconds", "size"), seconds=("seconds", "sum"), memory_mb=("memory_mb", "max")
        )


def _read_last_attempt(benchmark: Path) -> list[float] | None:
    """Return seconds and memory of the last attempt of a job; a value that was not measured is nan.

    Returns None for an incomplete file.
    """
    if len(benchmark.read_bytes().splitlines()) < 2:
        return None
    return tsv.read(benchmark, ["s", "max_rss"]).iloc[-1].astype(float).tolist()


def write_cost(root: Path, config: dict) -> str:
    """Write cost.tsv of an experiment, with its forecast if there is one; return the table as text.

    Columns: stage, jobs, hours (the sum over jobs), memory_mb, jobs_predicted and hours_predicted. A forecast of
    another configuration does not count.
    """
    folder = root / "results" / config["experiment"]
    table = Measured(root, config).by_stage().reindex(list(STAGES)).fillna({"jobs": 0, "seconds": 0.0})
    table[["jobs_predicted", "seconds_predicted"]] = float("nan")
    forecast = atomic.read_record(folder / FORECAST) if (folder / FORECAST).exists() else {}
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
    """Write cost.tsv of an experiment, then print its report and its cost to standard output; never raise an error.

    The workflow has succeeded at this point, whether or not the output and the table can be written.
    """
    try:
        cost = write_cost(root, config)
    except Exception as error:
        cost = f"The cost of the experiment could not be written: {error}\n"
    console.show(f"{report.read_text(encoding='utf-8')}\n{cost}\n")


def _in_hours(table: pd.DataFrame) -> pd.DataFrame:
    table = table.astype({"jobs": "Int64", "jobs_predicted": "Int64"})
    hours = {name: name.replace("seconds", "hours") for name in ("seconds", "seconds_predicted")}
    return table.assign(**{name: table[name] / 3600 for name in hours}).rename(columns=hours)


def duration(seconds: float) -> str:
    """Return a duration as text, in hours and minutes or in minutes and seconds."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {left} s"
