"""The validated configuration, the output folders and the input functions of the rules."""

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
# If there are GPUs, each job requests one and leases it, unless a profile or --set-resources sets another number.
GPUS = job_environment.set_variables(PYTHON)
# Snakemake inserts this path unquoted into the commands of its scripts.
sys.executable = shlex.quote(PYTHON)

# With --sdm conda, COMET uses its conda environment, unless `make comet` has built .venv-comet.
COMET = Path(os.path.relpath(workflow.basedir), ".venv-comet")
HAS_COMET = (COMET / "installed").exists()
COMET_PYTHON = str(COMET / "bin/python") if HAS_COMET else "python"
uses_conda = "conda" in map(str, workflow.deployment_settings.deployment_method)

# A cluster job parses this file again, but runs what was planned when it was submitted.
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
        PLANNED = invocation.read_plan(PLANNED["rules"])
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
# After `attempts` crashes, one more try records the reason. The remaining retries are for jobs that were terminated,
# for example by a time limit, and for trainings that progress between crashes. Only the main process retries: a cluster
# job has fixed limits of time and memory.
RETRIES = 2 * config["execution"]["attempts"] if workflow.is_main_process else 0


# Some executors pass on only the variables listed here.
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


def source_hash(script, omit=()):
    """Return the digest of a script and its modules, so that an edit of either reruns the rule.

    Modules in the packages `omit` do not count.
    """
    key = " ".join([script, *omit])
    if key not in PLANNED["code"]:
        path = Path(workflow.basedir, f"workflow/scripts/{script}.py")
        PLANNED["code"][key] = code_digest.code_digest(path, omit)
    return PLANNED["code"][key]


def in_results(paths):
    """Return the paths, prefixed with the results folder."""
    return [f"{RESULTS}/{path}" for path in paths]


def of_stage(stage, pattern):
    """Return a file pattern of runs, restricted to one stage."""
    return pattern.replace("{stage}", stage)


def model_output(stage):
    """Return the model folder of a stage's runs, temporary unless `keep_weights` is set."""
    folder = directory(of_stage(stage, f"{RUN}/model"))
    return folder if config[stage]["keep_weights"] else temp(folder)


def get_best(wildcards):
    """Return the file of the selected layers if the run depends on it.

    It is `ancient`: an ablation run reruns if the selected layers change, because they are part of its parameters, but
    not if the file is only rewritten. Snakemake checks this after the checkpoint `select_best`.
    """
    if runs.needs_best(EXPERIMENT.settings(wildcards.run)):
        return ancient(rules.select_best.output.best)
    return []


def get_resolved_settings(wildcards):
    """Return the method settings of a run, with every layer resolved to a block number.

    The only argument is `wildcards`: Snakemake does not track changes of parameters that depend on inputs.
    """
    path, settings = get_best(wildcards), EXPERIMENT.settings(wildcards.run)
    best = atomic.read_json(path).get(wildcards.pair) if path else None
    if path and not best:  # from an earlier configuration; select_best reruns
        return settings
    return runs.with_layers(settings, EXPERIMENT.depth, best)


def get_folder(wildcards):
    """Return the results folder of a run."""
    return f"{RESULTS}/{experiment.read_run(wildcards).folder}"


def get_trained(wildcards, name):
    """Return an output file of the training, or an empty list if the run is not trained."""
    is_trained = EXPERIMENT.settings(wildcards.run)["training"]["enabled"]
    return f"{get_folder(wildcards)}/{name}" if is_trained else []


def get_trainings(wildcards):
    """Return the trainings that read a split; an empty list for a test set."""
    is_test = wildcards.split in EXPERIMENT.tests
    return [] if is_test else EXPERIMENT.trainings(wildcards.pair)


def get_processes(wildcards):
    """Return the number of processes of a training."""
    return EXPERIMENT.settings(wildcards.run)["training"]["processes"]


def get_scoring(wildcards):
    """Return the scoring options of a pair."""
    return EXPERIMENT.scoring(wildcards.pair)


def get_neural(wildcards):
    """Return the score files of the neural metrics, which run in a separate environment."""
    path = f"{get_folder(wildcards)}/{wildcards.split}"
    return [f"{path}.{name}.json" for name in EXPERIMENT.neural_metrics]


def get_first_seed(wildcards, file):
    """Return a file of the first seed of each variant, for one pair and test set."""
    seed = config["ablation"]["seeds"][0]
    files = EXPERIMENT.test_files(file, wildcards.pair, wildcards.split, seed)
    return in_results(files)


def get_sources(wildcards):
    """Return the file of source sentences of a split."""
    return in_results(EXPERIMENT.text_files(wildcards.split, wildcards.pair))[0]


def get_references(wildcards):
    """Return the file of reference translations of a split."""
    return in_results(EXPERIMENT.text_files(wildcards.split, wildcards.pair))[1]
