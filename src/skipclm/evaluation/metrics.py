"""Metrics: a registry, and scores with the signature that makes each repeatable.

All are on the scale from 0 to 100. Each metric first says what every segment contributes, and then makes a score of
sums of such contributions, so that any choice of segments has its score: what tests of significance ask for.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric as Scorer
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from skipclm.data import language_id
from skipclm.errors import InputError, suggestion
from skipclm.evaluation import rouge, segment_errors
from skipclm.text import is_copy


class NotRunError(Exception):
    """A metric cannot run here; the message says why. Other metrics can."""


@dataclass(frozen=True)
class Translations:
    """The translations of a split, and what else a metric may look at; lists are of equal length.

    `cut` says which translations ended at the limit of length. `languages` are those that a wrong language is sought
    among. `spbleu_model` is sacrebleu's sentencepiece file of FLORES-200, and `neural` holds by metric what was
    measured elsewhere: `segments` and `signature`, or `not_run`.
    """

    hypotheses: list[str]
    references: list[str]
    sources: list[str]
    source_language: str
    target_language: str
    bleu_tokenizer: str = "13a"
    cut: Sequence[bool] | None = None
    languages: Sequence[str] = ()
    spbleu_model: str | None = None
    neural: dict[str, dict] = field(default_factory=dict)

    def check(self) -> None:
        """Raise an `InputError` unless there are as many lines on each side, and some."""
        if len(self.hypotheses) != len(self.references):
            raise InputError(
                f"expected one translation per reference, found {len(self.hypotheses)} translations and "
                f"{len(self.references)} references; translate the same split again, whole"
            )
        for name, others in (("sources", self.sources), ("cut", self.cut)):
            if others is not None and len(others) != len(self.hypotheses):
                raise InputError(f"expected {len(self.hypotheses)} {name}, one per translation, found {len(others)}")
        if not self.hypotheses:
            raise InputError("expected lines to score, found none; check that the split is not empty")


@dataclass(frozen=True)
class Metric:
    """One metric.

    `measure` returns what each segment contributes, (segments, k), and a signature; `total` turns sums of such
    contributions (n, k) into n scores. `better` is `higher`, `lower` or, where neither is, empty.
    """

    name: str
    label: str
    better: str
    measure: Callable[[Translations], tuple[np.ndarray, str]]
    total: Callable[[np.ndarray], np.ndarray]

    def sign(self) -> int:
        """Return 1 if more is better, -1 if less is, 0 if neither."""
        return {"higher": 1, "lower": -1, "": 0}[self.better]


# sacrebleu


def _by_sacrebleu(build: Callable[[Translations], Scorer], texts: Translations) -> tuple[np.ndarray, str]:
    scorer = build(texts)
    # As sacrebleu's own tests of significance do; scoring first, since the signature counts references.
    contributions = scorer._extract_corpus_statistics(texts.hypotheses, [texts.references])
    return np.array(contributions, dtype=float), str(scorer.get_signature())


def _totals_of(scorer: Scorer, sums: np.ndarray) -> np.ndarray:
    return np.array([scorer._compute_score_from_stats(row.tolist()).score for row in np.atleast_2d(sums)])


def _sacrebleu(name: str, label: str, better: str, build: Callable[[Translations], Scorer], plain: Scorer) -> Metric:
    """Return a metric of sacrebleu; `plain` is one of its scorers that makes scores of sums, whatever the language."""
    return Metric(name, label, better, partial(_by_sacrebleu, build), partial(_totals_of, plain))


def _build_bleu(tokenizer: str) -> BLEU:
    _check_known("BLEU tokenizer", tokenizer, BLEU.TOKENIZERS)
    try:
        return BLEU(tokenize=tokenizer)
    except (RuntimeError, ImportError, OSError) as error:  # some need extra packages or files
        raise InputError(
            f"expected a BLEU tokenizer that runs, found that {tokenizer!r} does not: {str(error).strip()}"
        ) from error


def _build_spbleu(texts: Translations) -> BLEU:
    if texts.spbleu_model is None:
        raise NotRunError("evaluation.spbleu_model names no file")
    if find_spec("sentencepiece") is None:
        raise NotRunError("sentencepiece is not installed")
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(texts.spbleu_model))
    digest = hashlib.sha256(Path(texts.spbleu_model).read_bytes()).hexdigest()[:8]
    scorer = BLEU(tokenize="none", force=True)
    scorer.tokenizer = lambda line: " ".join(pieces.encode(line, out_type=str))
    scorer.tokenizer_signature = f"flores200-{digest}"
    return scorer


def _build_ter(texts: Translations) -> TER:
    """Return TER, whose words are characters where there are no spaces; otherwise a sentence would be one word."""
    by_character = texts.bleu_tokenizer in ("zh", "char", "ja-mecab")
    return TER(normalized=by_character, asian_support=by_character)


# Means over segments


def _mean(sums: np.ndarray) -> np.ndarray:
    """Return 100 times the first column over the second, which counts segments or tokens; 0 where that is 0."""
    sums = np.atleast_2d(sums)
    return 100 * np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)


def _each(values: Sequence[float]) -> np.ndarray:
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


def _by_rouge(kind: str, texts: Translations) -> tuple[np.ndarray, str]:
    language = texts.target_language
    return _each(rouge.scores(texts.hypotheses, texts.references, kind, language)), rouge.signature(language)


def _by_model(name: str, texts: Translations) -> tuple[np.ndarray, str]:
    found = texts.neural.get(name, {"not_run": "it was not asked for"})
    if "not_run" in found:
        raise NotRunError(found["not_run"])
    if not np.isfinite(found["segments"]).all():
        raise NotRunError("it gave no number for some translations")
    if len(found["segments"]) != len(texts.hypotheses):
        raise InputError(
            f"{name}: expected a score for each of {len(texts.hypotheses)} translations, found "
            f"{len(found['segments'])}; score them again"
        )
    return _each(found["segments"]), found["signature"]


def _share(tell: Callable[[Translations], list[bool]], signature: str, texts: Translations) -> tuple[np.ndarray, str]:
    return _each(tell(texts)), signature


def _by_language(texts: Translations) -> tuple[np.ndarray, str]:
    language, languages = texts.target_language, texts.languages or (texts.source_language, texts.target_language)
    languages = [name for name in languages if language_id.knows(name)]
    if language not in languages:
        raise NotRunError(f"the identifier does not know the language {language}")
    found = [language_id.is_wrong_language(line, language, languages) for line in texts.hypotheses]
    return _each(found), language_id.identifier_signature(languages)


def _by_length(texts: Translations) -> tuple[np.ndarray, str]:
    scorer = _build_bleu(texts.bleu_tokenizer)
    contributions = np.array(scorer._extract_corpus_statistics(texts.hypotheses, [texts.references]), dtype=float)
    return contributions[:, :2], f"tokens:{texts.bleu_tokenizer}"  # tokens of hypotheses and of references


def _by_limit(texts: Translations) -> tuple[np.ndarray, str]:
    if texts.cut is None:
        raise NotRunError("the translations do not say which of them were cut")
    return _each(texts.cut), "at:limit-of-length"


def _copied(texts: Translations) -> list[bool]:
    return [is_copy(*pair) for pair in zip(texts.hypotheses, texts.sources, strict=True)]


def _looping(texts: Translations) -> list[bool]:
    return [segment_errors.is_loop(*pair) for pair in zip(texts.hypotheses, texts.references, strict=True)]


def _empty(texts: Translations) -> list[bool]:
    return [segment_errors.is_empty(hypothesis) for hypothesis in texts.hypotheses]


def _mean_metric(name: str, label: str, better: str, measure: Callable) -> Metric:
    return Metric(name, label, better, measure, _mean)


METRICS = {
    metric.name: metric
    for metric in (
        _sacrebleu("bleu", "BLEU", "higher", lambda texts: _build_bleu(texts.bleu_tokenizer), BLEU()),
        _sacrebleu("spbleu", "spBLEU", "higher", _build_spbleu, BLEU()),
        _sacrebleu("chrf", "chrF2", "higher", lambda _: CHRF(), CHRF()),
        _sacrebleu("chrfpp", "chrF++", "higher", lambda _: CHRF(word_order=2), CHRF(word_order=2)),
        _sacrebleu("chrf1", "chrF1", "higher", lambda _: CHRF(beta=1), CHRF(beta=1)),
        _sacrebleu("ter", "TER", "lower", _build_ter, TER()),
        *(
            _mean_metric(kind.lower(), kind.replace("rouge", "ROUGE-"), "higher", partial(_by_rouge, kind))
            for kind in rouge.KINDS
        ),
        _mean_metric("comet", "COMET", "higher", partial(_by_model, "comet")),
        _mean_metric("xcomet", "XCOMET", "higher", partial(_by_model, "xcomet")),
        _mean_metric("empty", "empty", "lower", partial(_share, _empty, "letters-or-digits:0")),
        _mean_metric("copied", "copied", "lower", partial(_share, _copied, "case:lc|equal:source")),
        _mean_metric("wrong_language", "wrong language", "lower", _by_language),
        _mean_metric(
            "looping",
            "looping",
            "lower",
            partial(_share, _looping, f"repeats:{segment_errors.REPEATS}|span:{segment_errors.SPAN}"),
        ),
        _mean_metric("length_ratio", "length ratio", "", _by_length),
        _mean_metric("cut", "cut short", "lower", _by_limit),
    )
}
NEURAL = ("comet", "xcomet")
NEURAL_CORES = 16  # for one of them, without a GPU
# How often a translation goes wrong in a way that an average hides.
RATES = ("empty", "copied", "wrong_language", "looping", "length_ratio", "cut")


def measure(texts: Translations, names: Sequence[str]) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    """Score translations by several metrics.

    Returns by name {"value": 23.4..., "signature": "nrefs:1|..."}, unrounded on the scale from 0 to 100, or
    {"value": None, "signature": None, "not_run": "why"}; and, of those that ran, the segments' contributions
    (segments, k). Raises an `InputError` for unequal or no lines, or an unknown metric.
    """
    check_names(names)
    texts.check()
    scores, contributions = {}, {}
    for name in names:
        try:
            contributions[name], signature = METRICS[name].measure(texts)
        except NotRunError as reason:
            scores[name] = {"value": None, "signature": None, "not_run": str(reason)}
        else:
            scores[name] = {"value": total(name, contributions[name]), "signature": signature}
    return scores, contributions


def total(name: str, contributions: np.ndarray) -> float:
    """Return the score of segments' contributions (segments, k)."""
    return float(METRICS[name].total(contributions.sum(axis=0))[0])


def is_imperfect(name: str, value: float) -> bool:
    """Tell whether a score is more than a point away from the best that there is."""
    return abs({1: 100.0, -1: 0.0, 0: value}[METRICS[name].sign()] - value) > 1


def check_names(names: Sequence[str]) -> None:
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
    if name in SPM_MODELS:
        _check_downloaded(name)  # otherwise sacrebleu downloads the model when it scores
    _build_bleu(name)


def _check_downloaded(name: str) -> None:
    if find_spec("sentencepiece") is None:
        raise InputError(
            f"expected a BLEU tokenizer that runs, found {name!r}; install sentencepiece, or choose another"
        )
    url = SPM_MODELS[name]["url"]
    path = Path(SACREBLEU_DIR, "models", Path(url).name)
    if not path.is_file() or not path.stat().st_size:
        raise InputError(
            f"expected the model of the BLEU tokenizer {name!r} in sacrebleu's folder, found no file {path}; download "
            f"{url} to it, point the environment variable SACREBLEU to a folder that has models/{path.name}, or choose "
            "another tokenizer"
        )


def check_spbleu_model(path: str | Path) -> None:
    """Refuse a file that sentencepiece cannot load, where sentencepiece is installed (InputError)."""
    if find_spec("sentencepiece") is None:
        return
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise InputError(f"expected a sentencepiece model, found that {path} does not load: {error}") from error


def label(name: str) -> str:
    """Return a metric's name for people; one we do not know keeps its own."""
    return METRICS[name].label if name in METRICS else name


def _check_known(kind: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    raise InputError(f"expected a {kind} among {', '.join(known)}, found {name!r}; {suggestion(name, known)}")
