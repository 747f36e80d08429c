"""Check that tokenizer and model can handle a split, and reject trainings for which its sentences are too long."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.runtime import atomic, jobs, startup

jobs.end_with_parents()
with startup.without_garbage_collection():
    from skipclm.data import examples
    from skipclm.data.text_files import read_lines
    from skipclm.evaluation import metrics, split_check
    from skipclm.models import tokenizer_loading
    from skipclm.pairs import Pair
    from skipclm.runtime import provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with jobs.job(snakemake.log[0]):
    wildcards, params = snakemake.wildcards, snakemake.params
    tokenizer = tokenizer_loading.load_tokenizer(snakemake.input.base)
    pairs = examples.Examples.load(snakemake.input.tokens)
    context = atomic.read_record(Path(snakemake.input.base) / provenance.RECORD)["context"]
    check = {"pair": wildcards.pair, "split": wildcards.split, "pairs": len(pairs), "context": context}
    check["longest_source"] = max(map(len, pairs.source))
    check["too_long"] = split_check.too_long(pairs.source, examples.Prompt.of(tokenizer), context)
    if params.metrics:
        sources, references = (read_lines(path) for path in (snakemake.input.source, snakemake.input.target))
        texts = metrics.Translations(references, references, sources, *Pair(wildcards.pair).languages, **params.options)
        prompt = examples.Prompt.of(tokenizer)
        limits = [prompt.max_new_tokens(ids, context, **params.lengths) for ids in pairs.source]
        check |= split_check.round_trip(tokenizer, pairs.target, texts, params.metrics, limits)
        texts = replace(texts, hypotheses=sources, references=sources)
        check["source"] = split_check.round_trip(tokenizer, pairs.source, texts, ["chrf"])
    check["trainings"] = split_check.check_trainings(wildcards.split, pairs, params.trainings)
    check["warnings"] = split_check.warnings(check)
    for line in check["warnings"]:
        print(f"warning: {wildcards.pair} {wildcards.split}: {line}")
    atomic.write_json(snakemake.output.check, check)
