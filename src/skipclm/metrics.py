"""Score translations with sacrebleu, each score with the signature that makes it repeatable."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric as Scorer

from skipclm.errors import InputError, suggestion


@dataclass(frozen=True)
class Metric:
    """One corpus metric on the scale 0 to 100; `build` turns a BLEU tokenizer's name into its scorer."""

    name: str
    label: str
    higher_is_better: bool
    build: Callable[[str], Scorer]


_BY_SENTENCEPIECE = ("spm", "flores101", "flores200", "spBLEU-1K")


def _build_bleu(tokenizer: str) -> BLEU:
    _check_known("BLEU tokenizer", tokenizer, BLEU.TOKENIZERS)
    try:
        return BLEU(tokenize=tokenizer)
    except (RuntimeError, ImportError) as error:  # some need extra packages
        raise InputError(
            f"expected a BLEU tokenizer that runs, found that {tokenizer!r} does not: {str(error).strip()}"
        ) from error


METRICS = {
    metric.name: metric
    for metric in (
        Metric("bleu", "BLEU", higher_is_better=True, build=_build_bleu),
        Metric("chrf", "chrF2", higher_is_better=True, build=lambda _: CHRF()),
    )
}


def score_corpus(
    hypotheses: list[str], references: list[str], names: list[str], bleu_tokenizer: str
) -> dict[str, dict]:
    """Score hypotheses against one reference each, line by line.

    Returns {"bleu": {"value": 23.456..., "signature": "nrefs:1|..."}, ...} in the order of `names`,
    values unrounded on the scale 0 to 100.
    InputError: unequal or no lines, an unknown metric or BLEU tokenizer.
    """
    check_names(names)
    _check_lines(hypotheses, references)
    return {name: _score(METRICS[name].build(bleu_tokenizer), hypotheses, references) for name in names}


def check_names(names: list[str]) -> None:
    """Refuse an empty list, a metric named twice, or one that is not in METRICS (InputError)."""
    if not names:
        raise InputError(f"expected at least one metric, found none; name some of {', '.join(METRICS)}")
    for name in names:
        _check_known("metric", name, METRICS)
    if len(set(names)) < len(names):
        raise InputError(f"expected each metric once, found {', '.join(names)}; remove the repeated one")


def check_bleu_tokenizer(name: str) -> None:
    """Refuse a tokenizer that sacrebleu's BLEU does not have, or that cannot run here (InputError)."""
    _check_known("BLEU tokenizer", name, BLEU.TOKENIZERS)
    # What a tokenizer needs is seen when it starts; those by sentencepiece fetch a model then, too much for a check.
    if name not in _BY_SENTENCEPIECE:
        _build_bleu(name)
    elif find_spec("sentencepiece") is None:
        raise InputError(
            f"expected a BLEU tokenizer that runs, found {name!r}; install sentencepiece, or choose another"
        )


def label(name: str) -> str:
    """Return a metric's name for people; one we do not know keeps its own."""
    return METRICS[name].label if name in METRICS else name


def _check_known(kind: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    raise InputError(f"expected a {kind} among {', '.join(known)}, found {name!r}; {suggestion(name, known)}")


def _check_lines(hypotheses: list[str], references: list[str]) -> None:
    if len(hypotheses) != len(references):
        raise InputError(
            f"expected one translation per reference, found {len(hypotheses)} translations and "
            f"{len(references)} references; translate the same split again, whole"
        )
    if not hypotheses:
        raise InputError("expected lines to score, found none; check that the split is not empty")


def _score(scorer: Scorer, hypotheses: list[str], references: list[str]) -> dict:
    score = scorer.corpus_score(hypotheses, [references])  # computed first: the signature counts references
    return {"value": score.score, "signature": str(scorer.get_signature())}
