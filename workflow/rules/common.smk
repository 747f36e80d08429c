"""The checked configuration, where things lie, and which files a run takes."""

import os
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from skipclm.config import corpus_config, runs, validation
from skipclm.errors import InputError
from skipclm.evaluation import metrics
from skipclm.planning import cost
from skipclm.runtime import (
    code_digest,
    console,
    devices,
    invocation,
    provenance,
    storage,
)

console.open_outputs()  # before any job inherits them
provenance.share_package()

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
        validation.check_paths(workflow.basedir, sys.executable)
        schema = Path(workflow.basedir, "workflow/schemas/config.schema.yaml")
        validation.check(config, yaml.safe_load(schema.read_text(encoding="utf-8")))
        validation.check_selection(config["evaluation"], HAS_COMET or uses_conda)
        invocation.announce(f"logs/{config['experiment']}")
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

# Where there are GPUs, a job wants one, unless a profile or --set-resources says otherwise, and leases its own. The
# count keeps others from waiting for theirs on a core. A job of a cluster wants what it was given: it asks for no more
# on a node that has more. (Snakemake's linter takes os.environ[...] for a variable that users have to set.)
GPUS = int(os.environ.setdefault("SKIPCLM_GPUS", str(min(1, len(devices.visible())))))
JOBS_PER_GPU = config["execution"]["jobs_per_gpu"]
# After as many deaths as there are attempts, a further try records why; others are for jobs that were told to end, by
# a time limit, say, and for those that come further each time. They are the main process's affair: within a job of a
# cluster, which has the time and the memory that it has, nothing is tried again.
RETRIES = 2 * config["execution"]["attempts"] if workflow.is_main_process else 0
# For a command, where a parameter of the rule would make it run again when it changes.
PYTHON = sys.executable
os.environ |= {
    "SKIPCLM_PYTHON": PYTHON,
    "SKIPCLM_JOBS_PER_GPU": str(JOBS_PER_GPU),
    "SKIPCLM_ATTEMPTS": str(config["execution"]["attempts"]),
}

# Threads that wait for each other soon sleep: on a busy machine, those that spin keep others from their work. To sleep
# at once would cost more than half of the speed on an idle one (bench/threads.py).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Snakemake puts it into the commands of its scripts, and does not quote it.
sys.executable = shlex.quote(PYTHON)


# What jobs need of the main process's environment, for executors that pass on what is named here.
envvars:
    invocation.VARIABLE,
    "SKIPCLM_GPUS",


if GPUS and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(1, len(devices.visible())) * JOBS_PER_GPU)

PAIRS = config["pairs"]
ABLATION_PAIRS = runs.ablation_pairs(config)
TEXT_OF = corpus_config.texts_of(PAIRS)  # de-en reads the text of en-de
TEXT_PAIRS = corpus_config.text_pairs(config)
TESTS = runs.test_sets(config)
SPLITS = ["train", "valid", *TESTS]
DEPTH = validation.depth(config)
CELLS = {cell.name: cell for cell in runs.grid_cells(config["grid"], DEPTH)}
VARIANTS = runs.variants(config)
METRICS = config["evaluation"]["metrics"]
NEURAL = [name for name in METRICS if name in metrics.NEURAL]
SPBLEU = validation.spbleu_file(config["evaluation"])
QUALITY = [name for name in METRICS if name not in metrics.RATES]


wildcard_constraints:
    pair="|".join(PAIRS),
    stage="grid|ablation",
    run="|".join([*CELLS, *VARIANTS]),
    seed=r"\d+",
    split="|".join(SPLITS),
    test="|".join(config["corpus"]["more_tests"]) or "(?!)",
    neural="|".join(metrics.NEURAL),


def source_hash(script):
    """Digest a script and the modules it uses, so that an edit of either reruns the rule."""
    if script not in PLANNED["code"]:
        path = Path(workflow.basedir, f"workflow/scripts/{script}.py")
        PLANNED["code"][script] = code_digest.code_digest(path)
    return PLANNED["code"][script]


def kept(folder, keep):
    """Mark a model folder as temporary unless it is to be kept."""
    return directory(folder) if keep else temp(directory(folder))


def get_settings(wildcards):
    """Return the method settings of a run; the names of cells and variants never meet."""
    if wildcards.run in CELLS:
        return runs.cell_settings(config, CELLS[wildcards.run])
    return runs.variant_settings(config, wildcards.run)


def get_best(wildcards):
    """Return the grid's choice where the run depends on it.

    Ancient: not a new file but another choice, by way of the settings among the parameters, makes an ablation run
    start again. That is looked at when the selection is made, since it is a checkpoint.
    """
    if runs.needs_best(get_settings(wildcards)):
        return ancient(rules.select_best.output.best)
    return []


def get_resolved_settings(wildcards):
    """Return the method settings of a run with every layer a number.

    A function of the wildcards alone: Snakemake looks for no changes in parameters that it derives from inputs.
    """
    path, settings = get_best(wildcards), get_settings(wildcards)
    best = storage.read_json(path).get(wildcards.pair) if path else None
    if (
        path and not best
    ):  # of an earlier configuration; the selection will be made anew, and this asked again
        return settings
    return runs.with_layers(settings, DEPTH, best)


def get_trained(wildcards, name):
    """Return a file that training leaves, where the run is trained at all."""
    if not get_settings(wildcards)["training"]["enabled"]:
        return []
    return f"{RESULTS}/{wildcards.stage}/{wildcards.pair}/{wildcards.run}/seed{wildcards.seed}/{name}"


def get_trainings(wildcards):
    """Return what decides how much of train or valid a training uses, for all trainings of a pair, each once."""
    if wildcards.split in TESTS:
        return []
    cells, pairs = list(CELLS.values())[:1], config["grid"]["pairs"]
    found = [runs.cell_settings(config, c) for c in cells if wildcards.pair in pairs]
    if wildcards.pair in ABLATION_PAIRS:
        found += [runs.variant_settings(config, name) for name in VARIANTS]
    keys = ("max_tokens", "batch_size", "validations")
    used = [
        {key: settings["training"][key] for key in keys}
        for settings in found
        if settings["training"]["enabled"]
    ]
    return [each for number, each in enumerate(used) if each not in used[:number]]


def get_processes(wildcards):
    """Return how many processes share a training."""
    return get_settings(wildcards)["training"]["processes"]


def get_scoring(wildcards):
    """Return what the metrics are told of a pair besides its texts."""
    target = config["languages"][wildcards.pair.split("-")[1]]
    return {
        "bleu_tokenizer": target["bleu_tokenizer"],
        "languages": sorted(config["languages"]),
        "spbleu_model": SPBLEU,
    }


def get_neural(wildcards):
    """Return the files of the scores that were measured elsewhere."""
    folder = f"{RESULTS}/{wildcards.stage}/{wildcards.pair}/{wildcards.run}/seed{wildcards.seed}"
    return [f"{folder}/{wildcards.split}.{name}.json" for name in NEURAL]


def get_corpus_files(split):
    """Return the files of one split of all pairs with text of their own."""
    return [
        f"{RESULTS}/corpus/{p}/{split}.{l}" for p in TEXT_PAIRS for l in p.split("-")
    ]


def get_sources(wildcards):
    """Return the sentences of a split to translate from."""
    return f"{RESULTS}/corpus/{TEXT_OF[wildcards.pair]}/{wildcards.split}.{wildcards.pair.split('-')[0]}"


def get_references(wildcards):
    """Return the sentences of a split to translate into."""
    return f"{RESULTS}/corpus/{TEXT_OF[wildcards.pair]}/{wildcards.split}.{wildcards.pair.split('-')[1]}"


def get_run_files(stage, pairs, names, seeds, file):
    """Return one file of every run of a stage, in the order of the tables."""
    folder = f"{RESULTS}/{stage}/{{pair}}/{{run}}/seed{{seed}}"
    return expand(f"{folder}/{file}", pair=pairs, run=names, seed=seeds)


def get_ablation_files(
    file, tests=TESTS, pairs=ABLATION_PAIRS, seeds=config["ablation"]["seeds"]
):
    """Return one file of every run of the ablation and test set."""
    return [
        path
        for test in tests
        for path in get_run_files("ablation", pairs, VARIANTS, seeds, f"{test}.{file}")
    ]


def get_grid_files(file):
    """Return one file of every run of the grid."""
    return get_run_files(
        "grid", config["grid"]["pairs"], CELLS, config["grid"]["seeds"], file
    )
