"""Check before training whether the tokenizer and the model can handle a split."""

from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from skipclm.data.examples import Examples, Prompt, decode
from skipclm.evaluation import metrics


def check_trainings(split: str, pairs: Examples, trainings: list[dict]) -> list[dict]:
    """Return the settings of each training, with the numbers of pairs that it uses (`used`) and of all pairs (`of`).

    The settings are max_tokens, batch_size and validations. Raises an `InputError` if train has fewer usable pairs than
    a batch needs, or if valid has none and the training has validations.
    """
    checked = []
    for training in trainings:
        minimum = training["batch_size"] if split == "train" else min(1, training["validations"])
        usable = pairs.usable(training["max_tokens"], minimum, split)
        checked.append(training | {"used": len(usable), "of": len(pairs)})
    return checked


def too_long(sources: list[list[int]], prompt: Prompt, context: int | None) -> list[int]:
    """Return the numbers, from 1, of the sources that leave no room for a translation in the model's context."""
    if context is None:
        return []
    return [number for number, ids in enumerate(sources, start=1) if len(prompt.source(ids)) >= context]


def round_trip(
    tokenizer: PreTrainedTokenizerBase,
    encoded: list[list[int]],
    texts: metrics.Translations,
    names: list[str],
    limits: list[int] | None = None,
) -> dict:
    """Encode and decode the references and score the result: the best score that any model can reach.

    `encoded` holds the tokens of the references. `limits` holds the maximum number of tokens of each translation,
    including the end token. `texts` holds sources and references, and the references again as hypotheses. Returns
    `ceiling` (value and signature by metric), `changed` (the number of references that decode to another text), an
    `example` of them, `unknown` (the percentage of unknown tokens) and `cut` (the numbers, from 1, of the references
    that are longer than their limit).
    """
    end, unknown = tokenizer.eos_token_id, tokenizer.unk_token_id
    content = [ids[: ids.index(end)] if end in ids else ids for ids in encoded]
    decoded = decode(tokenizer, content)
    changed = [n for n, pair in enumerate(zip(texts.references, decoded, strict=True), start=1) if len(set(pair)) > 1]
    best = decoded
    if limits:
        best = decode(tokenizer, [ids[:limit] for ids, limit in zip(content, limits, strict=True)])
    scores, _ = metrics.measure(replace(texts, hypotheses=best), names)
    examples = [{"line": n, "reference": texts.references[n - 1], "written": decoded[n - 1]} for n in changed[:1]]
    count = sum(map(len, encoded))
    return {
        "ceiling": {name: score for name, score in scores.items() if score["value"] is not None},
        "changed": len(changed),
        "example": examples[0] if examples else None,
        "unknown": 100 * sum(ids.count(unknown) for ids in encoded) / count if count and end != unknown else 0.0,
        "cut": [n for n, (ids, limit) in enumerate(zip(content, limits or [], strict=False), 1) if len(ids) >= limit],
    }


def warnings(check: dict) -> list[str]:
    """Return warnings about a split, one line each, from the results of its check."""
    lines = []
    if long := check["too_long"]:
        lines.append(
            f"{len(long)} of {check['pairs']} sentences are longer than the model reads ({check['context']} tokens), "
            f"such as line {long[0]}; their translations are empty and count as cut"
        )
    if cut := check.get("cut"):
        lines.append(
            f"{len(cut)} of {check['pairs']} references have more tokens than a translation may have, such as line "
            f"{cut[0]}: a perfect model reaches {_scores(check['ceiling'])}; raise evaluation.length_ratio or "
            "evaluation.length_extra, unless the context is the limit"
        )
    lines += _round_trip_warnings("references", check["pairs"], check) if "ceiling" in check else []
    lines += _round_trip_warnings("sources", check["pairs"], check["source"]) if "source" in check else []
    for training in check.get("trainings", []):
        if 2 * training["used"] < training["of"]:
            lines.append(
                f"training.max_tokens {training['max_tokens']}: only {training['used']} of {training['of']} pairs are "
                "that short; the others are left out"
            )
    return lines


def _round_trip_warnings(side: str, pairs: int, result: dict) -> list[str]:
    """Return a warning if the round trip of one side through the tokenizer costs more than one point of a score."""
    low = {name: score for name, score in result["ceiling"].items() if metrics.is_imperfect(name, score["value"])}
    if not result["changed"] or not low:
        return []
    values, example = _scores(low), result["example"]
    consequence = {"references": "a perfect model reaches", "sources": "the model reads another text, with"}[side]
    return [
        f"{result['changed']} of {pairs} {side} change when they are encoded and decoded: {consequence} {values}; line "
        f"{example['line']} is {example['reference']!r} and becomes {example['written']!r}; {result['unknown']:.1f} % "
        "of the tokens are unknown"
    ]


def _scores(scores: dict[str, dict]) -> str:
    return ", ".join(f"{metrics.label(name)} {score['value']:.1f}" for name, score in scores.items())
