"""A registry of metrics. Each score comes with a signature that makes it reproducible.

All scores are on the scale from 0 to 100. A metric first computes the statistics of each segment, called its
contributions, and then a score from their sum. Significance tests can therefore score any selection of segments.
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
    """One metric cannot run; the message gives the reason. The other metrics still run."""


@dataclass(frozen=True)
class Translations:
    """The translations of a split, and the other input of metrics. All lists have the same length.

    `cut` marks the translations that reached the length limit. `languages` are the candidates of language
    identification. `spbleu_model` is sacrebleu's sentencepiece model file of FLORES-200. `neural` holds, by metric,
    results that were computed by another job: `segments` and `signature`, or `not_run`.
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
        """Raise an `InputError` if the lists are empty or differ in length."""
        if len(self.hypotheses) != len(self.references):
            raise InputError(
                f"expected one translation per reference, found {len(self.hypotheses)} translations and "
                f"{len(self.references)} references; translate the complete split again"
            )
        for name, values in (("sources", self.sources), ("cut", self.cut)):
            if values is not None and len(values) != len(self.hypotheses):
                raise InputError(f"expected {len(self.hypotheses)} {name}, one per translation, found {len(values)}")
        if not self.hypotheses:
            raise InputError("expected lines to score, found none; check that the split is not empty")


@dataclass(frozen=True)
class Metric:
    """One metric.

    `measure` returns the contributions of the segments (segments, k) and a signature. `total` turns n sums of
    contributions (n, k) into n scores. `better` is `higher`, `lower`, or empty if neither is better.
    """

    name: str
    label: str
    better: str
    measure: Callable[[Translations], tuple[np.ndarray, str]]
    total: Callable[[np.ndarray], np.ndarray]

    def sign(self) -> int:
        """Return 1 if higher is better, -1 if lower is better, 0 if neither is."""
        return {"higher": 1, "lower": -1, "": 0}[self.better]


# sacrebleu


def _measure_sacrebleu(build: Callable[[Translations], Scorer], texts: Translations) -> tuple[np.ndarray, str]:
    scorer = build(texts)
    # The significance tests of sacrebleu use this method too. It also sets the number of references in the signature.
    contributions = scorer._extract_corpus_statistics(texts.hypotheses, [texts.references])
    return np.array(contributions, dtype=float), str(scorer.get_signature())


def _compute_totals(scorer: Scorer, sums: np.ndarray) -> np.ndarray:
    return np.array([scorer._compute_score_from_stats(row.tolist()).score for row in np.atleast_2d(sums)])


def _sacrebleu(name: str, label: str, better: str, build: Callable[[Translations], Scorer], plain: Scorer) -> Metric:
    """Return a metric of sacrebleu. `plain` is a scorer that computes scores from sums, for any language."""
    return Metric(name, label, better, partial(_measure_sacrebleu, build), partial(_compute_totals, plain))


def _build_bleu(tokenizer: str) -> BLEU:
    _check_known("BLEU tokenizer", tokenizer, BLEU.TOKENIZERS)
    try:
        return BLEU(tokenize=tokenizer)
    except (RuntimeError, ImportError, OSError) as error:  # some tokenizers need extra packages or files
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
    """Return TER. Languages without spaces are split into characters; otherwise a sentence would be one word."""
    by_character = texts.bleu_tokenizer in ("zh", "char", "ja-mecab")
    return TER(normalized=by_character, asian_support=by_character)


# Means over segments


def _mean(sums: np.ndarray) -> np.ndarray:
    """Return 100 times the first column divided by the second.

    The second column is a number of segments or tokens; if it is 0, the result is 0.
    """
    sums = np.atleast_2d(sums)
    return 100 * np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)


def _with_counts(values: Sequence[float]) -> np.ndarray:
    """Return contributions (segments, 2) for `_mean`: the value of a segment, and 1."""
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


def _measure_rouge(kind: str, texts: Translations) -> tuple[np.ndarray, str]:
    language = texts.target_language
    return _with_counts(rouge.scores(texts.hypotheses, texts.references, kind, language)), rouge.signature(language)


def _measure_neural(name: str, texts: Translations) -> tuple[np.ndarray, str]:
    result = texts.neural.get(name, {"not_run": "it was not asked for"})
    if "not_run" in result:
        raise NotRunError(result["not_run"])
    if not np.isfinite(result["segments"]).all():
        raise NotRunError("it gave no number for some translations")
    if len(result["segments"]) != len(texts.hypotheses):
        raise InputError(
            f"{name}: expected a score for each of {len(texts.hypotheses)} translations, found "
            f"{len(result['segments'])}; score them again"
        )
    return _with_counts(result["segments"]), result["signature"]


def _measure_rate(
    detect: Callable[[Translations], list[bool]], signature: str, texts: Translations
) -> tuple[np.ndarray, str]:
    return _with_counts(detect(texts)), signature


def _measure_wrong_language(texts: Translations) -> tuple[np.ndarray, str]:
    language, languages = texts.target_language, texts.languages or (texts.source_language, texts.target_language)
    languages = [name for name in languages if language_id.knows(name)]
    if language not in languages:
        raise NotRunError(f"the identifier does not know the language {language}")
    is_wrong = [language_id.is_wrong_language(line, language, languages) for line in texts.hypotheses]
    return _with_counts(is_wrong), language_id.identifier_signature(languages)


def _measure_length_ratio(texts: Translations) -> tuple[np.ndarray, str]:
    scorer = _build_bleu(texts.bleu_tokenizer)
    contributions = np.array(scorer._extract_corpus_statistics(texts.hypotheses, [texts.references]), dtype=float)
    return contributions[:, :2], f"tokens:{texts.bleu_tokenizer}"  # columns: tokens of the hypothesis, of the reference


def _measure_cut(texts: Translations) -> tuple[np.ndarray, str]:
    if texts.cut is None:
        raise NotRunError("the translations do not say which of them were cut")
    return _with_counts(texts.cut), "at:limit-of-length"


def _detect_copies(texts: Translations) -> list[bool]:
    return [is_copy(*pair) for pair in zip(texts.hypotheses, texts.sources, strict=True)]


def _detect_loops(texts: Translations) -> list[bool]:
    return [segment_errors.is_loop(*pair) for pair in zip(texts.hypotheses, texts.references, strict=True)]


def _detect_empty(texts: Translations) -> list[bool]:
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
            _mean_metric(kind.lower(), kind.replace("rouge", "ROUGE-"), "higher", partial(_measure_rouge, kind))
            for kind in rouge.KINDS
        ),
        _mean_metric("comet", "COMET", "higher", partial(_measure_neural, "comet")),
        _mean_metric("xcomet", "XCOMET", "higher", partial(_measure_neural, "xcomet")),
        _mean_metric("empty", "empty", "lower", partial(_measure_rate, _detect_empty, "letters-or-digits:0")),
        _mean_metric("copied", "copied", "lower", partial(_measure_rate, _detect_copies, "case:lc|equal:source")),
        _mean_metric("wrong_language", "wrong language", "lower", _measure_wrong_language),
        _mean_metric(
            "looping",
            "looping",
            "lower",
            partial(_measure_rate, _detect_loops, f"repeats:{segment_errors.REPEATS}|span:{segment_errors.SPAN}"),
        ),
        _mean_metric("length_ratio", "length ratio", "", _measure_length_ratio),
        _mean_metric("cut", "cut short", "lower", _measure_cut),
    )
}
NEURAL = ("comet", "xcomet")
NEURAL_CORES = 16  # CPU cores of a job that scores one neural metric without a GPU
# Metrics that count errors in single translations; an average score does not show such errors.
RATES = ("empty", "copied", "wrong_language", "looping", "length_ratio", "cut")


def measure(texts: Translations, names: Sequence[str]) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    """Score translations by several metrics.

    Returns two dictionaries by metric. The first holds {"value": 23.4..., "signature": "nrefs:1|..."}, unrounded on the
    scale from 0 to 100, or {"value": None, "signature": None, "not_run": "reason"}. The second holds the contributions
    of the segments (segments, k) for the metrics that ran. Raises an `InputError` if the lists of lines are empty or
    differ in length, or if a metric is unknown.
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
    """Return the score from the contributions of segments (segments, k)."""
    return float(METRICS[name].total(contributions.sum(axis=0))[0])


def is_imperfect(name: str, value: float) -> bool:
    """Tell whether a score is more than one point worse than the best possible score."""
    return abs({1: 100.0, -1: 0.0, 0: value}[METRICS[name].sign()] - value) > 1


def check_names(names: Sequence[str]) -> None:
    """Raise InputError if the list is empty, names a metric twice, or names one that is not in METRICS."""
    if not names:
        raise InputError(f"expected at least one metric, found none; name some of {', '.join(METRICS)}")
    for name in names:
        _check_known("metric", name, METRICS)
    if len(set(names)) < len(names):
        raise InputError(f"expected each metric once, found {', '.join(names)}; remove the repeated one")


def check_bleu_tokenizer(name: str) -> None:
    """Raise InputError if sacrebleu's BLEU does not have the tokenizer, or cannot run it on this machine."""
    _check_known("BLEU tokenizer", name, BLEU.TOKENIZERS)
    if name in SPM_MODELS:
        _check_downloaded(name)  # sacrebleu would download the model during scoring
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
    """Raise InputError if sentencepiece is installed and cannot load the file."""
    if find_spec("sentencepiece") is None:
        return
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise InputError(f"expected a sentencepiece model, found that {path} does not load: {error}") from error


def label(name: str) -> str:
    """Return the display name of a metric; an unknown metric has its own name."""
    return METRICS[name].label if name in METRICS else name


def _check_known(kind: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    raise InputError(f"expected a {kind} among {', '.join(known)}, found {name!r}; {suggestion(name, known)}")
