"""Plan an experiment: run a small one with a few steps, and extrapolate its cost."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from snakemake.cli import parse_config
from snakemake.utils import update_config

from skipclm.config import validation
from skipclm.config.experiment import Experiment
from skipclm.errors import InputError
from skipclm.evaluation import score_files
from skipclm.planning import cost, forecast
from skipclm.runtime import atomic, console, job_environment, jobs

ROOT = Path(__file__).parents[3]
SETTING = re.compile(r"[a-zA-Z_][\w-]*=")  # the beginning of KEY=VALUE


def plan(overlays: list[Path], settings: list[str], cores: int) -> str:
    """Return the forecast of an experiment as text, and write it to a file in the folder of its results.

    `overlays` and `settings` are the values of --configfile and --config of snakemake. Raises an `InputError` for a
    configuration that cannot run, or if the small experiment fails. A signal also ends the small experiment; the exit
    status is 128 plus the number of the signal.
    """
    before = jobs.install_signal_handlers(_interrupt)
    try:
        return _plan(overlays, settings, cores)
    except KeyboardInterrupt as interrupt:
        number = signal.Signals(interrupt.args[0])
        console.print_error(f"interrupted by {number.name}; what was measured so far is removed")
        sys.exit(128 + number)
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


def _interrupt(number: int, _: object) -> None:
    """Raise a `KeyboardInterrupt` with the number of the signal; ignore later signals during the cleanup."""
    for ending in jobs.ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def _plan(overlays: list[Path], settings: list[str], cores: int) -> str:
    config = resolve(overlays, settings)
    small_config = forecast.make_small(config)
    name = small_config["experiment"]
    for place in ("results", "benchmarks"):
        if (Path(place) / name).exists():
            raise InputError(f"expected no folder {place}/{name}, found one, perhaps of an interrupted plan; remove it")
    console.print_error(f"{name}: a few steps of each kind of training ...")
    (Path("results") / name).mkdir(parents=True)
    try:
        _run(small_config, forecast.texts(config), cores)
        _check(small_config)
        table = forecast.predict(config, Path())
        space = forecast.disk(config, Path(), forecast.parallel_jobs(config, cores)["trainings"])
    finally:
        for place in ("results", "benchmarks"):
            shutil.rmtree(Path(place) / name, ignore_errors=True)
    shutil.rmtree(Path("logs") / name)
    _log(small_config).unlink()
    stages = table[["stage", "jobs", "steps", "tokens", "seconds"]].to_dict("records")
    atomic.write_json(
        Path("results") / config["experiment"] / cost.FORECAST, {"config": config, "cores": cores, "stages": stages}
    )
    return forecast.to_text(table, config, cores, space)


def options(configfile: Sequence[Path], config: Sequence[str], more: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the files and the KEY=VALUE settings of a command line, interpreted as in snakemake.

    In snakemake, an option takes all words that follow it. Here, `configfile` and `config` hold the first word after
    each option, and `more` holds the remaining words. Raises an `InputError` for a repeated option, of which Snakemake
    would use only the last one, and for words that follow no option.
    """
    settings = [word for word in more if SETTING.match(word)]
    files = [Path(word) for word in more if not SETTING.match(word)]
    for option, given, rest in (("--configfile", configfile, files), ("--config", config, settings)):
        if len(given) > 1:
            raise InputError(
                f"{option}: expected the option once, because snakemake uses only the last one, found it "
                f"{len(given)} times; write {option} {' '.join(map(str, given))}"
            )
        if rest and not given:
            raise InputError(f"{rest[0]}: expected it after {option}, found no such option; write {option} {rest[0]}")
    return [*configfile, *files], [*config, *settings]


def resolve(overlays: list[Path], settings: Sequence[str] = ()) -> dict:
    """Return the configuration with overlays and settings (KEY=VALUE), merged as Snakemake merges them, and checked."""
    config: dict = {}
    for path in [ROOT / "config.yaml", *overlays]:
        if not path.is_file():
            raise InputError(f"--configfile: expected a file, found none at {path}; correct the path")
        try:
            update_config(config, _read(path))
        except RecursionError:
            raise InputError(
                f"{path}: expected keys and values, found values nested without end; remove the YAML alias (*) that "
                "makes a value a part of itself"
            ) from None
    try:
        update_config(config, parse_config(settings))
    except (ValueError, AssertionError) as error:
        raise InputError(f"--config: expected KEY=VALUE, found {', '.join(settings)}; correct it") from error
    schema = ROOT / "workflow/schemas/config.schema.yaml"
    validation.check(config, yaml.safe_load(schema.read_text(encoding="utf-8")))
    return config


def _read(path: Path) -> dict:
    """Return the keys and values of a YAML file."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected YAML, found an error: {' '.join(str(error).split())}; correct it"
        ) from error
    if not isinstance(config or {}, dict):
        raise InputError(f"{path}: expected keys with values, found {type(config).__name__}; correct it")
    return config or {}


def _run(config: dict, texts: list[str], cores: int) -> None:
    """Run the whole small experiment, and encode these texts."""
    log = _log(config)
    log.parent.mkdir(parents=True, exist_ok=True)
    overlay = log.with_suffix(".yaml")
    atomic.write_text(overlay, yaml.safe_dump(config, sort_keys=False))
    tokens = f"results/{config['experiment']}/tokens"
    targets = ["all", *(f"{tokens}/{text}.{kind}" for text in texts for kind in ("safetensors", "json"))]
    command = [sys.executable, "-m", "snakemake", *targets, "--configfile", str(overlay)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--cores", str(cores)]
    # Run on this machine. The profile of a cluster would measure the time in its queue.
    command += ["--profile", "none", "--workflow-profile", str(ROOT / "profiles/default")]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE_")}
    variables |= job_environment.SAFE_PATH
    # In a separate session, the process gets no signal from the terminal, only the one that we send.
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, env=variables, stdout=file, stderr=file, start_new_session=True)
    try:
        failed = process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()  # until it unlocks its folder
        raise
    finally:
        overlay.unlink()
    if failed:
        raise InputError(f"expected a few steps of each training to succeed, but some failed; see {log}")


def _log(config: dict) -> Path:
    return Path("logs") / f"{config['experiment']}.log"


def _check(config: dict) -> None:
    """Raise an `InputError` if a run of the small experiment failed or diverged."""
    for run in Experiment(config).runs:
        folder = Path("results") / config["experiment"] / run.folder
        for split in run.splits:
            score = atomic.read_json(folder / f"{split}.scores.json")
            if score["status"] not in score_files.TRANSLATED_STATUSES:
                raise InputError(
                    f"expected a few steps of each training to succeed, found that {run.name} {score['status']}: "
                    f"{score['reason'] or 'lower its learning rate'}"
                )
