"""Score the translations of one split by one run."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.config import runs
from skipclm.data.text_files import read_lines
from skipclm.evaluation import metrics, score_files
from skipclm.pairs import Pair
from skipclm.runtime import atomic, jobs, locks, provenance, snapshots

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with (
    jobs.job(snakemake.log[0], __file__, snakemake.params.code),
    locks.exclusive_lock(f"{snakemake.output.scores}.attempt"),
):
    run, options = snakemake.wildcards, snakemake.params.options
    record = atomic.read_json(snakemake.input.record) if snakemake.input.record else {}
    generation = atomic.read_json(snakemake.input.generation)
    identity = score_files.identity(run)
    hypotheses, cut = score_files.read_hypotheses(snakemake.input.hypotheses, generation, identity)
    sources, references = (read_lines(path) for path in (snakemake.input.sources, snakemake.input.references))
    scores, segments = {}, {}
    if generation["status"] in score_files.TRANSLATED_STATUSES:
        neural = {Path(path).suffixes[-2][1:]: atomic.read_json(path) for path in snakemake.input.neural}
        options |= {"cut": cut, "neural": neural}
        texts = metrics.Translations(hypotheses, references, sources, *Pair(run.pair).languages, **options)
        scores, segments = metrics.measure(texts, snakemake.params.metrics)
    score_files.save_segments(snakemake.output.segments, segments)
    result = identity | {
        "status": generation["status"],
        "reason": generation["reason"],
        "sentences": len(references),
        "metrics": scores,
        "layers": runs.used_layers(record.get("settings")),
        "hypotheses_sha256": generation["sha256"],
        "segments_sha256": atomic.sha256(snakemake.output.segments),
    }
    facts = {key: record.get(key) for key in ("train_steps", "train_loss", "train_seconds", "micro_batch")}
    atomic.write_json(snakemake.output.scores, result | facts | provenance.environment())
    splits = ["valid"] if run.stage == "grid" else runs.test_sets(snakemake.config)
    # Not a parameter of the rule, because a change of keep_weights must not rerun the scoring.
    keep_weights = snakemake.config[run.stage]["keep_weights"]
    snapshots.release(Path(snakemake.output.scores).parent, splits, keep_weights)
