"""Provide the base model that every run starts from.

Reads   the hub, a model folder, or for a model from scratch results/<experiment>/corpus/*/train.*
Writes  results/<experiment>/base
"""

FROM_SCRATCH = config["model"]["source"] == "scratch"


rule prepare_base:
    """Train a small decoder on single sentences, or copy the named one."""
    input:
        train=rules.build_corpus.output.train if FROM_SCRATCH else [],
        model=experiment.model_files(config),
    output:
        base=directory(f"{RESULTS}/base"),
    log:
        f"{LOGS}/base.log",
    benchmark:
        f"{BENCHMARKS}/base.tsv"
    conda:
        "../../envs/skipclm.yaml"
    threads: 16
    params:
        model={
            k: v for k, v in config["model"].items() if k != "scratch" or FROM_SCRATCH
        },
        code=source_hash("prepare_base"),
    message:
        "Prepare the base model: {params.model[source]}"
    script:
        "../scripts/prepare_base.py"
