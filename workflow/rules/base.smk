"""Provide the base model that every run starts from.

Reads   the hub or a model folder; for a model from scratch, results/<experiment>/corpus/*/train.*
Writes  results/<experiment>/base, results/<experiment>/trial.json
"""

FROM_SCRATCH = config["model"]["source"] == "scratch"
MODEL_FILES = validation.model_files(config)


rule prepare_base:
    """Train a small decoder on single sentences, or copy the configured model."""
    input:
        train=rules.build_corpus.output.train if FROM_SCRATCH else [],
        model=MODEL_FILES,
    output:
        base=directory(f"{RESULTS}/base"),
    log:
        f"{LOGS}/base.log",
    benchmark:
        f"{BENCHMARKS}/base.tsv"
    conda:
        "../../envs/skipclm.yaml"
    threads: 16
    resources:
        gpu=GPUS,
    params:
        model=validation.base_settings(config),
        sizes=validation.file_sizes(MODEL_FILES),
        code=source_hash("prepare_base"),
    message:
        "Prepare the base model: {params.model[source]}"
    script:
        "../scripts/prepare_base.py"


rule try_base:
    """Train one step with each setup of the experiment, then save, load and translate, to detect errors early.

    The trial is not an input of the trainings, so that a new variant does not rerun them. A training waits for the
    trial or performs it itself.
    """
    input:
        base=rules.prepare_base.output.base,
    output:
        trial=f"{RESULTS}/trial.json",
    log:
        f"{LOGS}/trial.log",
    benchmark:
        f"{BENCHMARKS}/trial.tsv"
    priority: 4
    conda:
        "../../envs/skipclm.yaml"
    resources:
        gpu=GPUS,
    params:
        config=runs.trial_config(config),
        code=source_hash("try_base"),
    message:
        "Try the base model"
    script:
        "../scripts/try_base.py"
