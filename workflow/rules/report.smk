"""Draw the figures and write the report.

Reads   results/<experiment>/grid, results/<experiment>/ablation
Writes  results/<experiment>/figures, results/<experiment>/report.txt
"""


rule plot_grid:
    """Plot the heat maps, the validation scores and the training curves of one pair's grid."""
    input:
        scores=rules.collect_grid.output.table,
        cells=rules.compare_cells.output.cells,
        best=rules.select_best.output.best,
        histories=lambda wc: in_results(
            EXPERIMENT.run_files("grid", "history.tsv", wc.pair)
        ),
    output:
        heatmap=multiext(f"{RESULTS}/figures/grid_heatmap.{{pair}}", ".svg", ".png"),
        curve=multiext(f"{RESULTS}/figures/grid_curve.{{pair}}", ".svg", ".png"),
        training=multiext(f"{RESULTS}/figures/grid_training.{{pair}}", ".svg", ".png"),
    log:
        f"{LOGS}/figures/grid.{{pair}}.log",
    benchmark:
        f"{BENCHMARKS}/figures/grid.{{pair}}.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        metric=config["evaluation"]["selection_metric"],
        names=[
            f"{cell} seed {seed}"
            for cell in EXPERIMENT.cells
            for seed in config["grid"]["seeds"]
        ],
        code=source_hash("plot_grid"),
    message:
        "Plot the grid of {wildcards.pair}"
    script:
        "../scripts/plot_grid.py"


rule plot_ablation:
    """Plot the ablation on one test set with one metric."""
    input:
        scores=rules.collect_ablation.output.scores,
        summary=rules.collect_ablation.output.table,
    output:
        figure=multiext(
            f"{RESULTS}/figures/ablation.{{split}}.{{metric}}", ".svg", ".png"
        ),
    log:
        f"{LOGS}/figures/ablation.{{split}}.{{metric}}.log",
    benchmark:
        f"{BENCHMARKS}/figures/ablation.{{split}}.{{metric}}.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        code=source_hash("plot_ablation"),
    message:
        "Plot the ablation on {wildcards.split} with {wildcards.metric}"
    script:
        "../scripts/plot_ablation.py"


rule show_translations:
    """Write the translations of one pair side by side, with the largest differences between variants first.

    The table is quoted for the default readers of pandas, R (read.delim) and spreadsheets. A sentence that they would
    read as a formula or a missing value starts with a space.
    """
    input:
        sources=get_sources,
        references=get_references,
        hypotheses=lambda wc: get_first_seed(wc, "hypotheses.txt"),
        scores=lambda wc: get_first_seed(wc, "scores.json"),
        segments=lambda wc: get_first_seed(wc, "segments.safetensors"),
        best=ancient(rules.select_best.output.best),  # wait for the selection, which can change the inputs
    output:
        table=f"{RESULTS}/ablation/{{pair}}/{{split}}.translations.tsv",
    log:
        f"{LOGS}/ablation/{{pair}}/{{split}}.translations.log",
    benchmark:
        f"{BENCHMARKS}/ablation/{{pair}}/{{split}}.translations.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        metric=(
            "chrf"
            if "chrf" in EXPERIMENT.metrics
            else config["evaluation"]["selection_metric"]
        ),
        variants=EXPERIMENT.variants,
        code=source_hash("show_translations"),
    message:
        "Write the translations of {wildcards.pair} {wildcards.split} side by side"
    script:
        "../scripts/show_translations.py"


rule write_report:
    """Write the selected layers, the results and the warnings."""
    input:
        overlap=rules.measure_overlap.output.table,
        corpus=CORPUS_SUMMARIES,
        checks=in_results(EXPERIMENT.check_files()),
        best=rules.select_best.output.best,
        cells=rules.compare_cells.output.cells,
        winner=rules.collect_ablation.output.winner,
        summary=rules.collect_ablation.output.table,
        grid_figures=expand(rules.plot_grid.output, pair=EXPERIMENT.grid_pairs),
        translations=expand(
            rules.show_translations.output.table,
            pair=EXPERIMENT.ablation_pairs,
            split=EXPERIMENT.tests,
        ),
        ablation_figures=expand(
            rules.plot_ablation.output,
            split=EXPERIMENT.tests,
            metric=EXPERIMENT.quality_metrics,
        ),
    output:
        report=f"{RESULTS}/report.txt",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        names={
            p: " to ".join(config["languages"][l]["name"] for l in Pair(p).languages)
            for p in EXPERIMENT.pairs
        },
        code=source_hash("write_report"),
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"
