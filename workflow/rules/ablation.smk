"""Compare the variants at the best layers: a training run per variant, pair and seed, reported on `test`.

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
        model=kept(
            f"{RESULTS}/ablation/{{pair}}/{{run}}/seed{{seed}}/model",
            config["ablation"]["keep_weights"],
        ),
        history=f"{RESULTS}/ablation/{{pair}}/{{run}}/seed{{seed}}/history.tsv",
        record=f"{RESULTS}/ablation/{{pair}}/{{run}}/seed{{seed}}/training.json",
    log:
        f"{LOGS}/ablation/{{pair}}/{{run}}/seed{{seed}}/train.log",
    benchmark:
        f"{BENCHMARKS}/ablation/{{pair}}/{{run}}/seed{{seed}}/train.tsv"


rule compare_variants:
    """Tell which differences from plain fine-tuning are more than chance."""
    input:
        scores=get_ablation_files("scores.json"),
        segments=get_ablation_files("segments.safetensors"),
        best=ancient(rules.select_best.output.best),  # not before all is known that changes with it
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
        metrics=QUALITY,
        code=source_hash("compare_variants"),
    message:
        "Compare the variants with {params.baseline}"
    script:
        "../scripts/compare_variants.py"


rule collect_ablation:
    """Gather the scores of all variants, and their means, in tables."""
    input:
        scores=get_ablation_files("scores.json"),
        optimism=rules.compare_cells.output.optimism,
        significance=rules.compare_variants.output.table,
        checks=expand(
            f"{RESULTS}/tokens/{{pair}}/{{test}}.json", pair=ABLATION_PAIRS, test=TESTS
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
        metrics=METRICS,
        winner=validation.winning_variant(config),
        code=source_hash("collect_ablation"),
    message:
        "Write the ablation's tables"
    script:
        "../scripts/collect_ablation.py"
