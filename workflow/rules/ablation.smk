"""Compare the variants at the best layers: one training run per variant, pair and seed, evaluated on `test`.

Reads   results/<experiment>/base, results/<experiment>/tokens, results/<experiment>/grid/best.json
Writes  results/<experiment>/ablation
"""


use rule train_cell as train_variant with:
    input:
        base=rules.prepare_base.output.base,
        train=f"{RESULTS}/tokens/{{pair}}/train.safetensors",
        valid=f"{RESULTS}/tokens/{{pair}}/valid.safetensors",
        best=get_best,
    output:
        model=model_output("ablation"),
        history=of_stage("ablation", f"{RUN}/history.tsv"),
        record=of_stage("ablation", f"{RUN}/training.json"),
    log:
        of_stage("ablation", f"{RUN_LOG}/train.log"),
    benchmark:
        of_stage("ablation", f"{RUN_BENCHMARK}/train.tsv")


rule compare_variants:
    """Test which differences from the baseline are significant."""
    input:
        scores=in_results(EXPERIMENT.test_files("scores.json")),
        segments=in_results(EXPERIMENT.test_files("segments.safetensors")),
        best=ancient(rules.select_best.output.best),  # wait for the selection, which can change the inputs
    output:
        table=f"{RESULTS}/ablation/significance.tsv",
    log:
        f"{LOGS}/ablation/significance.log",
    benchmark:
        f"{BENCHMARKS}/ablation/significance.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        baseline=config["ablation"]["baseline"],
        metrics=EXPERIMENT.quality_metrics,
        code=source_hash("compare_variants"),
    message:
        "Compare the variants with {params.baseline}"
    script:
        "../scripts/compare_variants.py"


rule collect_ablation:
    """Collect the scores of all variants and their means in tables."""
    input:
        scores=in_results(EXPERIMENT.test_files("scores.json")),
        optimism=rules.compare_cells.output.optimism,
        significance=rules.compare_variants.output.table,
        checks=expand(
            rules.check_split.output.check,
            pair=EXPERIMENT.ablation_pairs,
            split=EXPERIMENT.tests,
        ),
        corpus=CORPUS_SUMMARIES,
    output:
        scores=f"{RESULTS}/ablation/scores.tsv",
        table=f"{RESULTS}/ablation/table.tsv",
        markdown=f"{RESULTS}/ablation/table.md",
        latex=f"{RESULTS}/ablation/table.tex",
        html=f"{RESULTS}/ablation/table.html",
        winner=f"{RESULTS}/ablation/winner.tsv",
    log:
        f"{LOGS}/ablation/collect.log",
    benchmark:
        f"{BENCHMARKS}/ablation/collect.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        metrics=EXPERIMENT.metrics,
        winner=validation.winning_variant(config),
        code=source_hash("collect_ablation"),
    message:
        "Write the ablation tables"
    script:
        "../scripts/collect_ablation.py"
