"""Encode every split once, for all runs.

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
