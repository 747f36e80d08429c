"""Turn text from any source into clean, disjoint splits.

Reads   the files and datasets in corpus.sources
Writes  results/<experiment>/corpus
"""

CORPUS = corpus_config.resolve(config)
SOURCES = corpus_config.source_files(config, CORPUS)
MORE_TESTS = {
    n: corpus_config.resolve_test(config, n) for n in config["corpus"]["more_tests"]
}
ADD_TEST_CODE = {
    name: source_hash("add_test", corpus_config.unused_packages(test))
    for name, test in MORE_TESTS.items()
}


CORPUS_SUMMARIES = [
    f"{RESULTS}/corpus/summary.tsv",
    *(f"{RESULTS}/corpus/summary.{name}.tsv" for name in MORE_TESTS),
]


rule build_corpus:
    """Read, clean and split the text of all pairs together, so that the splits share no sentence."""
    input:
        sources=SOURCES,
    output:
        train=in_results(EXPERIMENT.text_files("train")),
        valid=in_results(EXPERIMENT.text_files("valid")),
        test=in_results(EXPERIMENT.text_files("test")),
        summary=f"{RESULTS}/corpus/summary.tsv",
    log:
        f"{LOGS}/corpus.log",
    benchmark:
        f"{BENCHMARKS}/corpus.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        corpus=CORPUS,
        languages=corpus_config.used_languages(config, CORPUS),
        pairs=EXPERIMENT.text_pairs,
        sizes=validation.file_sizes(SOURCES),
        code=source_hash("build_corpus", corpus_config.unused_packages(CORPUS)),
    message:
        "Build the corpus of {params.pairs}"
    script:
        "../scripts/build_corpus.py"


rule add_test:
    """Read and clean a further test set, without the lines that train or valid contains."""
    input:
        train=rules.build_corpus.output.train,
        valid=rules.build_corpus.output.valid,
        sources=lambda wc: corpus_config.source_files(config, MORE_TESTS[wc.test]),
    output:
        test=in_results(EXPERIMENT.text_files("{test}")),
        summary=f"{RESULTS}/corpus/summary.{{test}}.tsv",
    log:
        f"{LOGS}/corpus.{{test}}.log",
    benchmark:
        f"{BENCHMARKS}/corpus.{{test}}.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        corpus=lambda wc: MORE_TESTS[wc.test],
        languages=lambda wc: corpus_config.used_languages(config, MORE_TESTS[wc.test]),
        pairs=EXPERIMENT.text_pairs,
        sizes=lambda wc: validation.file_sizes(
            corpus_config.source_files(config, MORE_TESTS[wc.test])
        ),
        code=lambda wc: ADD_TEST_CODE[wc.test],
    message:
        "Add the test set {wildcards.test}"
    script:
        "../scripts/add_test.py"


rule measure_overlap:
    """Measure the exact and near-exact overlap of the splits."""
    input:
        texts=[in_results(EXPERIMENT.text_files(split)) for split in EXPERIMENT.splits],
    output:
        table=f"{RESULTS}/corpus/overlap.tsv",
    log:
        f"{LOGS}/overlap.log",
    benchmark:
        f"{BENCHMARKS}/overlap.tsv"
    conda:
        "../../envs/skipclm.yaml"
    params:
        pairs=EXPERIMENT.text_pairs,
        splits=EXPERIMENT.splits,
        code=source_hash("measure_overlap"),
    message:
        "Measure the overlap of the splits"
    script:
        "../scripts/measure_overlap.py"
