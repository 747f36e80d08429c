"""Draw the figures and say what came out.

Reads   results/<experiment>/grid, results/<experiment>/ablation
Writes  results/<experiment>/figures, results/<experiment>/report.txt
"""


rule plot_grid:
    """Draw the heat maps, the curve of validation scores and the training curves of one pair's grid."""
    input:
        scores=rules.collect_grid.output.table,
        best=rules.select_best.output.best,
        histories=lambda wc: get_run_files(
            "grid", wc.pair, CELLS, config["grid"]["seeds"], "history.tsv"
        ),
    output:
        heatmap=multiext(f"{RESULTS}/figures/grid_heatmap.{{pair}}", ".svg", ".png"),
        curve=multiext(f"{RESULTS}/figures/grid_curve.{{pair}}", ".svg", ".png"),
        training=multiext(f"{RESULTS}/figures/grid_training.{{pair}}", ".svg", ".png"),
    log:
        f"{LOGS}/figures/grid.{{pair}}.log",
    conda:
        "../../envs/skipclm.yaml"
    params:
        metric=config["evaluation"]["selection_metric"],
        names=[
            f"{cell} seed {seed}" for cell in CELLS for seed in config["grid"]["seeds"]
        ],
        code=source_hash("plot_grid"),
    message:
        "Draw the grid of {wildcards.pair}"
    script:
        "../scripts/plot_grid.py"


rule plot_ablation:
    """Draw the ablation by one metric."""
    input:
        scores=rules.collect_ablation.output.scores,
    output:
        figure=multiext(f"{RESULTS}/figures/ablation.{{metric}}", ".svg", ".png"),
    log:
        f"{LOGS}/figures/ablation.{{metric}}.log",
    conda:
        "../../envs/skipclm.yaml"
    params:
        code=source_hash("plot_ablation"),
    message:
        "Draw the ablation by {wildcards.metric}"
    script:
        "../scripts/plot_ablation.py"


rule write_report:
    """Say what was chosen and what came of it."""
    input:
        corpus=rules.build_corpus.output.summary,
        best=rules.select_best.output.best,
        scores=rules.collect_ablation.output.scores,
        grid_figures=expand(
            [rules.plot_grid.output[i] for i in (0, 2, 4)],
            pair=config["grid"]["pairs"],
        ),
        ablation_figures=expand(rules.plot_ablation.output[0], metric=METRICS),
    output:
        report=f"{RESULTS}/report.txt",
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/skipclm.yaml"
    params:
        names={
            p: " to ".join(config["languages"][l]["name"] for l in p.split("-"))
            for p in PAIRS
        },
        code=source_hash("write_report"),
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"
