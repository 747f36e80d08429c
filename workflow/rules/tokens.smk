"""Encode every split once for all runs, and check that tokenizer and model can handle it.

Reads   results/<experiment>/corpus, results/<experiment>/base
Writes  results/<experiment>/tokens
"""


rule encode_split:
    """Encode both sides of one split with the base model's tokenizer."""
    input:
        base=rules.prepare_base.output.base,
        source=get_sources,
        target=get_references,
    output:
        tokens=f"{RESULTS}/tokens/{{pair}}/{{split}}.safetensors",
    log:
        f"{LOGS}/tokens/{{pair}}/{{split}}.log",
    benchmark:
        f"{BENCHMARKS}/tokens/{{pair}}/{{split}}.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        code=source_hash("encode_split"),
    message:
        "Encode {wildcards.pair} {wildcards.split}"
    script:
        "../scripts/encode_split.py"


rule check_split:
    """Score the references after a round trip through the tokenizer, and count sentences that are too long.

    The check is not an input of the trainings; its priority makes it run before them. As an input, even an ancient one,
    it would keep Snakemake from detecting other changes of the trainings.
    """
    input:
        base=rules.prepare_base.output.base,
        tokens=rules.encode_split.output.tokens,
        source=get_sources,
        target=get_references,
        spbleu=SPBLEU or [],
    output:
        check=f"{RESULTS}/tokens/{{pair}}/{{split}}.json",
    log:
        f"{LOGS}/tokens/{{pair}}/{{split}}.check.log",
    benchmark:
        f"{BENCHMARKS}/tokens/{{pair}}/{{split}}.check.tsv"
    priority: 3
    conda:
        "../../envs/skipclm.yaml"
    params:
        metrics=lambda wc: (
            []
            if wc.split == "train"
            else [n for n in EXPERIMENT.quality_metrics if n not in metrics.NEURAL]
        ),
        options=get_scoring,
        lengths={k: config["evaluation"][k] for k in ("length_ratio", "length_extra")},
        trainings=get_trainings,
        code=source_hash("check_split"),
    message:
        "Check {wildcards.pair} {wildcards.split}"
    script:
        "../scripts/check_split.py"
