"""The origin of a number in a results table: runs, settings, data, code and libraries, read from the files."""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pandas as pd

from skipclm.config import runs
from skipclm.errors import InputError, reading, suggestion
from skipclm.evaluation import metrics, score_files
from skipclm.pairs import Pair
from skipclm.runtime import atomic, provenance, tsv


def explain(results: Path, pair: str, run: str, metric: str, split: str | None = None) -> str:
    """Return lines that explain a mean of the ablation or of a cell of the grid.

    `results` is the folder of an experiment. `run` is a variant, or a cell such as c3-s1-t18. `split` defaults to
    `test` for a variant and to `valid` for a cell. Raises an `InputError` for a name that does not exist.
    """
    stage = "grid" if runs.is_cell_name(run) else "ablation"
    with reading(results):
        return _explain(results, stage, pair, run, metric, split)


def _explain(results: Path, stage: str, pair: str, run: str, metric: str, split: str | None) -> str:
    if not (results / "corpus").is_dir():
        raise InputError(
            f"expected the results of an experiment, such as results/demo, found none in {results}; correct the path"
        )
    folder = results / stage / pair / run
    _check_exists(pair, "pair", results / stage)
    _check_exists(run, "run", results / stage / pair)
    seeds, splits = _seeds_and_splits(results / stage / "scores.tsv", stage, pair, run)
    split = split or splits[0]
    if split not in splits:
        raise InputError(f"expected a split among {', '.join(splits)}, found {split!r}; {suggestion(split, splits)}")
    files = [folder / f"seed{seed}" / f"{split}.scores.json" for seed in seeds]
    facts = {"seed": int, "status": str, "split": str, "sentences": int, "metrics": dict}
    scores = [atomic.read_record(path, **facts) for path in files]
    names = list(dict.fromkeys(name for score in scores for name in score["metrics"]))
    if metric not in names and names:
        raise InputError(f"expected a metric among {', '.join(names)}, found {metric!r}; {suggestion(metric, names)}")
    seed_runs = [_describe_run(path, score, metric) for path, score in zip(files, scores, strict=True)]
    parts = [
        _describe_mean(scores, pair, run, metric),
        *seed_runs,
        _describe_data(results, pair, split),
        _describe_base(results),
    ]
    return "\n\n".join(parts) + "\n"


def _seeds_and_splits(path: Path, stage: str, pair: str, run: str) -> tuple[list[int], list[str]]:
    """Return the seeds and splits of a run in the table of scores; there may be folders of earlier seeds."""
    columns = runs.Cell.__dataclass_fields__ if stage == "grid" else ("variant", "split")
    scores = tsv.read(path, ["pair", "seed", *columns])
    scores = scores[scores["pair"] == pair]
    if stage == "grid":
        names = [runs.Cell(*row).name for row in scores[list(columns)].itertuples(index=False)]
        scores = scores.assign(variant=names, split="valid")
    scores = scores[scores["variant"] == run]
    if scores.empty:
        raise InputError(f"{path}: expected scores of {run} on {pair}, found none; run the workflow again")
    return list(scores["seed"].unique()), list(scores["split"].unique())


def _check_exists(name: str, kind: str, parent: Path) -> None:
    names = sorted(folder.name for folder in parent.glob("*") if folder.is_dir())
    if name not in names:
        raise InputError(
            f"expected a {kind} among {', '.join(names) or 'none'} in {parent}, found {name!r}; "
            f"{suggestion(name, names)}"
        )


def _describe_mean(scores: list[dict], pair: str, run: str, metric: str) -> str:
    values = [score["metrics"].get(metric, {}).get("value") for score in scores]
    measured = [value for value in values if value is not None]
    mean = f"{fmean(measured):.4f}, the mean over {len(measured)} of {len(values)} seeds" if measured else "no value"
    signatures = {score["metrics"][metric]["signature"] for score in scores if metric in score["metrics"]} - {None}
    split = scores[0]["split"]
    lines = [f"{metrics.label(metric)} of {run} on {pair}, {split} ({scores[0]['sentences']} sentences): {mean}"]
    return "\n".join(lines + [f"  signature: {signature}" for signature in sorted(signatures)])


def _describe_run(path: Path, score: dict, metric: str) -> str:
    """Describe the run of one seed."""
    entry = score["metrics"].get(metric, {})
    value = entry.get("not_run") or (entry and f"{entry['value']:.4f}")
    if score["status"] not in score_files.TRANSLATED_STATUSES:
        value = ": ".join(filter(None, (score["status"], score.get("reason"))))
    generation = atomic.read_record(path.with_name(f"{score['split']}.generation.json"), sha256=str)
    lines = [f"seed {score['seed']}: {value}", f"  translations: sha256 {generation['sha256']}"]
    lines += [f"  translated: {line}" for line in _provenance(generation)]
    lines += [f"  scored: {line}" for line in _provenance(score)]
    training = path.with_name("training.json")
    if training.exists():
        record = atomic.read_record(training, settings=dict)
        if record.get("status") != "failed":
            steps, pairs, seconds = (record[key] for key in ("train_steps", "train_pairs", "train_seconds"))
            lines.append(f"  trained: {steps} steps on {pairs} pairs in {seconds:.0f} s")
        lines += [f"  trained: {line}" for line in _provenance(record)]
        lines += [f"  {section}: {_settings(settings)}" for section, settings in record["settings"].items()]
    return "\n".join(lines)


def _provenance(record: dict) -> Iterator[str]:
    """Yield the time, code, machine and libraries of a record, if it has them."""
    if "commit" in record:
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
        commit, code = (record.get(key) or "not recorded" for key in ("commit", "code"))
        yield f"{record['finished']}, commit {commit}, code {code}, {record['machine']}"
        yield versions


def _settings(settings: dict) -> str:
    values = {key: value for key, value in settings.items() if key != "enabled"}
    return _as_text(values if settings["enabled"] else "off")


def _as_text(value: object) -> str:
    """Return a setting, or a mapping of settings, as text without braces and quotes."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_as_text(entry)}" for key, entry in value.items()) or "none"
    return "none" if value is None else str(value)


def _describe_data(results: Path, pair: str, split: str) -> str:
    """Describe the text on which a run was trained, selected and scored."""
    columns = ["pair", "split", "origin", "pairs", "source_sha256", "target_sha256"]
    summary = tsv.read(results / "corpus/summary.tsv", columns)
    further = results / f"corpus/summary.{split}.tsv"
    summary = pd.concat([summary, tsv.read(further, columns)]) if further.exists() else summary
    # A pair without its own text reads that of the reverse pair.
    text_pair = Pair(pair) if pair in set(summary["pair"]) else Pair(pair).reverse
    source, target = text_pair.languages
    lines = [
        f"  {row.split}: {row.pairs} pairs, {row.origin}; sha256 of {source} {row.source_sha256}, of {target} "
        f"{row.target_sha256}"
        for row in summary[summary["pair"] == text_pair].itertuples()
    ]
    return "\n".join(["data:", *lines])


def _describe_base(results: Path) -> str:
    record = atomic.read_record(results / "base" / provenance.RECORD)
    lines = [f"  {key}: {_as_text(value)}" for key, value in record.get("model", {}).items()]
    return "\n".join(["base model:", *lines, *(f"  {line}" for line in _provenance(record))])
