"""The checked configuration, where things lie, and which files a run takes."""

import os
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from skipclm.config import corpus_config, experiment, runs, validation
from skipclm.errors import InputError
from skipclm.evaluation import metrics
from skipclm.pairs import Pair
from skipclm.planning import cost
from skipclm.runtime import (
    code_digest,
    console,
    devices,
    invocation,
    job_environment,
    atomic,
)

console.open_outputs()  # before any job inherits them
PYTHON = sys.executable
# Where there are GPUs, a job asks for one, unless a profile or --set-resources says otherwise, and leases its own.
GPUS = job_environment.set_variables(PYTHON)
# Snakemake puts it into the commands of its scripts, and does not quote it.
sys.executable = shlex.quote(PYTHON)

# With --sdm conda, COMET's environment is that environment's own, unless `make comet` has built another.
COMET = Path(os.path.relpath(workflow.basedir), ".venv-comet")
HAS_COMET = (COMET / "installed").exists()
COMET_PYTHON = str(COMET / "bin/python") if HAS_COMET else "python"
uses_conda = "conda" in map(str, workflow.deployment_settings.deployment_method)

# A job of a cluster reads this file again, and does what was planned when it was submitted.
RULE_FILES = [
    workflow.main_snakefile,
    *Path(workflow.basedir).glob("workflow/rules/*.smk"),
]
PLANNED = {
    "config": config,
    "code": {},
    "rules": code_digest.text_digest(map(Path, RULE_FILES)),
}

try:
    if workflow.is_main_process:
        validation.check_command(sys.argv)
        validation.check_paths(workflow.basedir, PYTHON)
        schema = Path(workflow.basedir, "workflow/schemas/config.schema.yaml")
        validation.check(config, yaml.safe_load(schema.read_text(encoding="utf-8")))
        validation.check_selection(config["evaluation"], HAS_COMET or uses_conda)
        job_environment.set_invocation(f"logs/{config['experiment']}")
    else:
        PLANNED = invocation.planned(PLANNED["rules"])
        config.clear()
        config.update(PLANNED["config"])
    RESULTS = f"results/{config['experiment']}"
    LOGS = f"logs/{config['experiment']}"
    BENCHMARKS = f"benchmarks/{config['experiment']}"
    for folder in (RESULTS, LOGS, BENCHMARKS):
        validation.check_writable(folder)
except InputError as error:
    raise WorkflowError(str(error))

JOBS_PER_GPU = config["execution"]["jobs_per_gpu"]
# After as many deaths as there are attempts, a further try records why; others are for jobs that were told to end, by
# a time limit, say, and for those that come further each time. They are the main process's affair: within a job of a
# cluster, which has the time and the memory that it has, nothing is tried again.
RETRIES = 2 * config["execution"]["attempts"] if workflow.is_main_process else 0


# For executors that pass on only what is named here.
envvars:
    job_environment.INVOCATION,
    job_environment.GPUS,


if GPUS and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(1, len(devices.visible())) * JOBS_PER_GPU)

EXPERIMENT = experiment.Experiment(config)
SPBLEU = validation.spbleu_file(config["evaluation"])
RUN = f"{RESULTS}/{experiment.Run.PATTERN}"
RUN_LOG = f"{LOGS}/{experiment.Run.PATTERN}"
RUN_BENCHMARK = f"{BENCHMARKS}/{experiment.Run.PATTERN}"


wildcard_constraints:
    pair="|".join(EXPERIMENT.pairs),
    stage="|".join(experiment.STAGES),
    run="|".join([*EXPERIMENT.cells, *EXPERIMENT.variants]),
    seed=r"\d+",
    split="|".join(EXPERIMENT.splits),
    test="|".join(config["corpus"]["more_tests"]) or "(?!)",
    neural="|".join(metrics.NEURAL),


def source_hash(script):
    """Digest a script and the modules it uses, so that an edit of either reruns the rule."""
    if script not in PLANNED["code"]:
        path = Path(workflow.basedir, f"workflow/scripts/{script}.py")
        PLANNED["code"][script] = code_digest.code_digest(path)
    return PLANNED["code"][script]


def in_results(paths):
    """Return paths below the folder of results."""
    return [f"{RESULTS}/{path}" for path in paths]


def of_stage(stage, pattern):
    """Return a pattern of files of runs for one stage."""
    return pattern.replace("{stage}", stage)


def model_output(stage):
    """Return the model folder of a stage's runs, temporary unless it is to be kept."""
    folder = directory(of_stage(stage, f"{RUN}/model"))
    return folder if config[stage]["keep_weights"] else temp(folder)


def get_best(wildcards):
    """Return the grid's choice where the run depends on it.

    Ancient: not a new file but another choice, by way of the settings among the parameters, makes an ablation run
    start again. That is looked at when the selection is made, since it is a checkpoint.
    """
    if runs.needs_best(EXPERIMENT.settings(wildcards.run)):
        return ancient(rules.select_best.output.best)
    return []


def get_resolved_settings(wildcards):
    """Return the method settings of a run with every layer a number.

    A function of the wildcards alone: Snakemake looks for no changes in parameters that it derives from inputs.
    """
    path, settings = get_best(wildcards), EXPERIMENT.settings(wildcards.run)
    best = atomic.read_json(path).get(wildcards.pair) if path else None
    if path and not best:  # of an earlier configuration; the selection is made anew
        return settings
    return runs.with_layers(settings, EXPERIMENT.depth, best)


def get_folder(wildcards):
    """Return the folder of a run's results."""
    return f"{RESULTS}/{experiment.read_run(wildcards).folder}"


def get_trained(wildcards, name):
    """Return a file that training leaves, where the run is trained at all."""
    is_trained = EXPERIMENT.settings(wildcards.run)["training"]["enabled"]
    return f"{get_folder(wildcards)}/{name}" if is_trained else []


def get_trainings(wildcards):
    """Return the trainings that read a split, none for test sets."""
    is_test = wildcards.split in EXPERIMENT.tests
    return [] if is_test else EXPERIMENT.trainings(wildcards.pair)


def get_processes(wildcards):
    """Return how many processes share a training."""
    return EXPERIMENT.settings(wildcards.run)["training"]["processes"]


def get_scoring(wildcards):
    """Return what the metrics are told of a pair besides its texts."""
    return EXPERIMENT.scoring(wildcards.pair)


def get_neural(wildcards):
    """Return the files of the scores that were measured elsewhere."""
    path = f"{get_folder(wildcards)}/{wildcards.split}"
    return [f"{path}.{name}.json" for name in EXPERIMENT.neural_metrics]


def get_first_seed(wildcards, file):
    """Return one file of the first seed of each variant, on a pair and a test set."""
    seed = config["ablation"]["seeds"][0]
    files = EXPERIMENT.test_files(file, wildcards.pair, wildcards.split, seed)
    return in_results(files)


def get_sources(wildcards):
    """Return the sentences of a split to translate from."""
    return in_results(EXPERIMENT.text_files(wildcards.split, wildcards.pair))[0]


def get_references(wildcards):
    """Return the sentences of a split to translate into."""
    return in_results(EXPERIMENT.text_files(wildcards.split, wildcards.pair))[1]
