"""Score the translations of one split by one run."""

from typing import TYPE_CHECKING

from skipclm import corpus, metrics, provenance, runs

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with provenance.job(snakemake.log[0]):
    run = snakemake.wildcards
    record = provenance.read_json(snakemake.input.record) if snakemake.input.record else {"status": "untrained"}
    references = corpus.read_lines(snakemake.input.references)
    scores = {}  # a diverged run has none
    if record["status"] != "diverged":
        hypotheses = corpus.read_lines(snakemake.input.hypotheses)
        scores = metrics.score_corpus(hypotheses, references, snakemake.params.metrics, snakemake.params.tokenizer)
    result = {
        "pair": run.pair,
        "stage": run.stage,
        "run": run.run,
        "seed": int(run.seed),
        "status": record["status"],
        "split": run.split,
        "sentences": len(references),
        "metrics": scores,
        "layers": runs.used_layers(record.get("settings")),
    }
    facts = {key: record.get(key) for key in ("train_steps", "train_loss", "train_seconds")}
    provenance.write_json(snakemake.output.scores, result | facts)
