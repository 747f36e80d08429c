"""Turn text from any source into clean, disjoint splits.

Reads   what corpus.sources names
Writes  results/<experiment>/corpus
"""

SOURCES = experiment.source_files(config)


rule build_corpus:
    """Read, clean and split the text of all pairs together, so that no sentence is in two splits."""
    input:
        sources=SOURCES,
    output:
        train=[f"{RESULTS}/corpus/{p}/train.{l}" for p in PAIRS for l in p.split("-")],
        valid=[f"{RESULTS}/corpus/{p}/valid.{l}" for p in PAIRS for l in p.split("-")],
        test=[f"{RESULTS}/corpus/{p}/test.{l}" for p in PAIRS for l in p.split("-")],
        summary=f"{RESULTS}/corpus/summary.tsv",
    log:
        f"{LOGS}/corpus.log",
    benchmark:
        f"{BENCHMARKS}/corpus.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        corpus=experiment.resolved_corpus(config),
        languages=experiment.corpus_languages(config),
        pairs=PAIRS,
        sizes=experiment.file_sizes(SOURCES),
        code=source_hash("build_corpus"),
    message:
        "Build the corpus of {params.pairs}"
    script:
        "../scripts/build_corpus.py"


rule measure_overlap:
    """Measure what the splits have in common, word for word or nearly so."""
    input:
        texts=rules.build_corpus.output,
        summary=rules.build_corpus.output.summary,
    output:
        table=f"{RESULTS}/corpus/overlap.tsv",
    log:
        f"{LOGS}/overlap.log",
    conda:
        "../../envs/skipclm.yaml"
    params:
        pairs=PAIRS,
        splits=["train", "valid", "test"],
        code=source_hash("measure_overlap"),
    message:
        "Measure the overlap of splits"
    script:
        "../scripts/measure_overlap.py"
