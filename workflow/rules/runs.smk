"""Translate and score with a run. Grid and ablation share these rules.

Reads   the model of a run, results/<experiment>/tokens, results/<experiment>/corpus
Writes  <split>.hypotheses.txt, .generation.json, .scores.json and .segments.safetensors in the folder of the run
"""


rule translate:
    """Translate one split with one run."""
    input:
        model=lambda wc: get_trained(wc, "model") or rules.prepare_base.output.base,
        record=lambda wc: get_trained(wc, "training.json"),
        best=get_best,  # Snakemake then checks this rule for changes, too, after the selection
        tokens=f"{RESULTS}/tokens/{{pair}}/{{split}}.safetensors",
    output:
        hypotheses=f"{RUN}/{{split}}.hypotheses.txt",
        generation=f"{RUN}/{{split}}.generation.json",
    log:
        f"{RUN_LOG}/{{split}}.translate.log",
    benchmark:
        f"{RUN_BENCHMARK}/{{split}}.translate.tsv"
    priority: 1  # before further trainings, so that few models are on disk at a time
    retries: RETRIES
    conda:
        "../../envs/skipclm.yaml"
    resources:
        gpu=GPUS,
    params:
        options={
            k: config["evaluation"][k]
            for k in ("beams", "length_ratio", "length_extra")
        },
        code=source_hash("translate"),
    message:
        "Translate {wildcards.pair} {wildcards.split} with {wildcards.run} seed {wildcards.seed}"
    script:
        "../scripts/translate.py"


rule score_neural:
    """Score with COMET or XCOMET in a separate environment, or record why it cannot run."""
    input:
        sources=get_sources,
        hypotheses=rules.translate.output.hypotheses,
        references=get_references,
    output:
        neural=f"{RUN}/{{split}}.{{neural}}.json",
    log:
        f"{RUN_LOG}/{{split}}.{{neural}}.log",
    benchmark:
        f"{RUN_BENCHMARK}/{{split}}.{{neural}}.tsv"
    priority: 2
    retries: RETRIES
    conda:
        "../../envs/comet.yaml"
    threads: 1 if GPUS else metrics.NEURAL_CORES  # limits the parallel jobs, because each needs much memory
    resources:
        gpu=GPUS,
    params:
        python=COMET_PYTHON,
        scripts=lambda wc: Path(workflow.basedir, "workflow/scripts"),
        code=[source_hash("score_neural"), source_hash("comet_segments")],
        model=lambda wc: config["evaluation"]["neural"][wc.neural],
    message:
        "Score {wildcards.pair} {wildcards.split} of {wildcards.run} seed {wildcards.seed} with {wildcards.neural}"
    shell:
        '"$SKIPCLM_PYTHON" {params.scripts:q}/score_neural.py --log {log:q} --gpu {resources.gpu} '
        "--output {output.neural:q} -- {params.python:q} {params.scripts:q}/comet_segments.py "
        "--model {params.model:q} --sources {input.sources:q} --hypotheses {input.hypotheses:q} "
        "--references {input.references:q}"


rule score:
    """Score the translations of one split by one run."""
    input:
        hypotheses=rules.translate.output.hypotheses,
        generation=rules.translate.output.generation,
        sources=get_sources,
        references=get_references,
        neural=get_neural,
        spbleu=SPBLEU or [],
        record=lambda wc: get_trained(wc, "training.json"),
        best=get_best,
    output:
        scores=f"{RUN}/{{split}}.scores.json",
        segments=f"{RUN}/{{split}}.segments.safetensors",
    log:
        f"{RUN_LOG}/{{split}}.score.log",
    benchmark:
        f"{RUN_BENCHMARK}/{{split}}.score.tsv"
    priority: 2
    conda:
        "../../envs/skipclm.yaml"
    params:
        metrics=EXPERIMENT.metrics,
        options=get_scoring,
        code=source_hash("score"),
    message:
        "Score {wildcards.pair} {wildcards.split} of {wildcards.run} seed {wildcards.seed}"
    script:
        "../scripts/score.py"
