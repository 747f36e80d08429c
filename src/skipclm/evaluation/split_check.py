"""What the tokenizer and the model cannot do with a split: known before anything is trained."""

from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from skipclm.data.examples import Examples, Prompt, decode
from skipclm.evaluation import metrics


def check_trainings(split: str, pairs: Examples, trainings: list[dict]) -> list[dict]:
    """Return for each of the `trainings` its settings and how many pairs it uses of how many.

    A training is given by max_tokens, batch_size and validations. Raises an `InputError` if train has fewer usable
    pairs than a batch, or valid none where the training is validated.
    """
    found = []
    for training in trainings:
        minimum = training["batch_size"] if split == "train" else min(1, training["validations"])
        usable = pairs.usable(training["max_tokens"], minimum, split)
        found.append(training | {"used": len(usable), "of": len(pairs)})
    return found


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
    rooms: list[int] | None = None,
) -> dict:
    """Score references as the tokenizer writes them: the ceiling of what any model can reach with it.

    `encoded` are their tokens, `rooms` how many tokens a translation of each may have, with its end. `texts` holds
    sources and references, and the references again as hypotheses. Returns `ceiling` (value and signature by metric),
    `changed` (how many references come back as another text), an `example` of them, `unknown`, the share of unknown
    tokens in per cent, and `cut`, the numbers, from 1, of references that are longer than their room.
    """
    end, unknown = tokenizer.eos_token_id, tokenizer.unk_token_id
    whole = [ids[: ids.index(end)] if end in ids else ids for ids in encoded]
    written = decode(tokenizer, whole)
    changed = [n for n, pair in enumerate(zip(texts.references, written, strict=True), start=1) if len(set(pair)) > 1]
    best = decode(tokenizer, [ids[:room] for ids, room in zip(whole, rooms, strict=True)]) if rooms else written
    scores, _ = metrics.measure(replace(texts, hypotheses=best), names)
    examples = [{"line": n, "reference": texts.references[n - 1], "written": written[n - 1]} for n in changed[:1]]
    count = sum(map(len, encoded))
    return {
        "ceiling": {name: score for name, score in scores.items() if score["value"] is not None},
        "changed": len(changed),
        "example": examples[0] if examples else None,
        "unknown": 100 * sum(ids.count(unknown) for ids in encoded) / count if count and end != unknown else 0.0,
        "cut": [n for n, (ids, room) in enumerate(zip(whole, rooms or [], strict=False), start=1) if len(ids) >= room],
    }


def warnings(found: dict) -> list[str]:
    """Say in lines what is wrong with a split, of which `found` are the facts of its check."""
    lines = []
    if long := found["too_long"]:
        lines.append(
            f"{len(long)} of {found['pairs']} sentences are longer than the model reads ({found['context']} tokens), "
            f"such as line {long[0]}; their translations are empty and count as cut"
        )
    if cut := found.get("cut"):
        lines.append(
            f"{len(cut)} of {found['pairs']} references have more tokens than a translation may have, such as line "
            f"{cut[0]}: a perfect model reaches {_scores(found['ceiling'])}; raise evaluation.length_ratio or "
            "evaluation.length_extra, unless the context is the limit"
        )
    lines += _losses("references", found["pairs"], found) if "ceiling" in found else []
    lines += _losses("sources", found["pairs"], found["source"]) if "source" in found else []
    for training in found.get("trainings", []):
        if 2 * training["used"] < training["of"]:
            lines.append(
                f"training.max_tokens {training['max_tokens']}: only {training['used']} of {training['of']} pairs are "
                "that short; the others are left out"
            )
    return lines


def _losses(side: str, pairs: int, found: dict) -> list[str]:
    """Say what a round trip through the tokenizer loses of one side, if it is much."""
    low = {name: score for name, score in found["ceiling"].items() if metrics.is_imperfect(name, score["value"])}
    if not found["changed"] or not low:
        return []
    values, example = _scores(low), found["example"]
    consequence = {"references": "a perfect model reaches", "sources": "the model reads another text, with"}[side]
    return [
        f"{found['changed']} of {pairs} {side} change when they are encoded and decoded: {consequence} {values}; line "
        f"{example['line']} is {example['reference']!r} and becomes {example['written']!r}; {found['unknown']:.1f} % "
        "of the tokens are unknown"
    ]


def _scores(scores: dict[str, dict]) -> str:
    return ", ".join(f"{metrics.label(name)} {score['value']:.1f}" for name, score in scores.items())
