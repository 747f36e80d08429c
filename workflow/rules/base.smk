"""Provide the base model that every run starts from.

Reads   the hub, a model folder, or for a model from scratch results/<experiment>/corpus/*/train.*
Writes  results/<experiment>/base
"""

FROM_SCRATCH = config["model"]["source"] == "scratch"
MODEL_FILES = experiment.model_files(config)


rule prepare_base:
    """Train a small decoder on single sentences, or copy the named one."""
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
        model=experiment.base_settings(config),
        sizes=experiment.file_sizes(MODEL_FILES),
        code=source_hash("prepare_base"),
    message:
        "Prepare the base model: {params.model[source]}"
    script:
        "../scripts/prepare_base.py"
