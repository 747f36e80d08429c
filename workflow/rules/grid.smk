"""Search the layers: one training run per cell and seed, evaluated on `valid`.

Reads   results/<experiment>/base, results/<experiment>/tokens
Writes  results/<experiment>/grid
"""


rule train_cell:
    """Fine-tune the base model with one cell: contrastive layer, skip source and skip target."""
    input:
        base=rules.prepare_base.output.base,
        train=f"{RESULTS}/tokens/{{pair}}/train.safetensors",
        valid=f"{RESULTS}/tokens/{{pair}}/valid.safetensors",
    output:
        model=model_output("grid"),
        history=of_stage("grid", f"{RUN}/history.tsv"),
        record=of_stage("grid", f"{RUN}/training.json"),
    log:
        of_stage("grid", f"{RUN_LOG}/train.log"),
    benchmark:
        of_stage("grid", f"{RUN_BENCHMARK}/train.tsv")
    retries: RETRIES
    conda:
        "../../envs/skipclm.yaml"
    threads: get_processes
    resources:
        gpu=lambda wc: GPUS * get_processes(wc),
    params:
        settings=get_resolved_settings,
        code=source_hash("train"),
    message:
        "Train {wildcards.pair} {wildcards.run} seed {wildcards.seed}"
    script:
        "../scripts/train.py"


rule collect_grid:
    """Collect the scores of all cells in one table."""
    input:
        scores=in_results(EXPERIMENT.run_files("grid", "valid.scores.json")),
    output:
        table=f"{RESULTS}/grid/scores.tsv",
    log:
        f"{LOGS}/grid/collect.log",
    benchmark:
        f"{BENCHMARKS}/grid/collect.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        metrics=EXPERIMENT.metrics,
        code=source_hash("collect_grid"),
    message:
        "Collect the grid scores"
    script:
        "../scripts/collect_grid.py"


checkpoint select_best:
    """Select the best cell for every pair."""
    input:
        scores=rules.collect_grid.output.table,
    output:
        best=f"{RESULTS}/grid/best.json",
    log:
        f"{LOGS}/grid/select.log",
    benchmark:
        f"{BENCHMARKS}/grid/select.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        metric=config["evaluation"]["selection_metric"],
        pairs=EXPERIMENT.pairs,
        allow_missing=config["grid"]["allow_missing"],
        code=source_hash("select_best"),
    message:
        "Select the best layers by {params.metric} on valid"
    script:
        "../scripts/select_best.py"


rule compare_cells:
    """Test which cells differ from the best, and estimate the selection bias of the best score."""
    input:
        scores=in_results(EXPERIMENT.run_files("grid", "valid.scores.json")),
        segments=in_results(EXPERIMENT.run_files("grid", "valid.segments.safetensors")),
        best=rules.select_best.output.best,
    output:
        cells=f"{RESULTS}/grid/cells.tsv",
        optimism=f"{RESULTS}/grid/optimism.tsv",
    log:
        f"{LOGS}/grid/compare.log",
    benchmark:
        f"{BENCHMARKS}/grid/compare.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        metric=config["evaluation"]["selection_metric"],
        code=source_hash("compare_cells"),
    message:
        "Compare the grid cells with the best"
    script:
        "../scripts/compare_cells.py"
