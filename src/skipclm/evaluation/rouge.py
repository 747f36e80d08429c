"""ROUGE (Lin 2004) by Google's rouge-score, with a tokenizer for most scripts; the default keeps only a-z and 0-9."""

import unicodedata
from importlib.metadata import version

import numpy as np
import regex

KINDS = ("rouge1", "rouge2", "rougeL")
# In Han and Kana, which are written without spaces, each character is a token.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_TOKEN = regex.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])(?:[^\W_]|\p{{M}}))+")
_TURKIC = {"tr", "az"}  # languages in which the lower case of I is ı, and that of İ is i


def tokens(text: str, language: str = "") -> list[str]:
    """Return lower-case words, and single characters of scripts that are written without spaces."""
    if language in _TURKIC:
        text = text.replace("I", "ı").replace("İ", "i")
    return _TOKEN.findall(unicodedata.normalize("NFC", text).lower())


def signature(language: str) -> str:
    """Return the signature of ROUGE for a language, with the version of rouge-score."""
    return f"nrefs:1|case:lc|lang:{language}|tok:unicode-words-cjk-chars|measure:f|version:{version('rouge-score')}"


def scores(hypotheses: list[str], references: list[str], kind: str, language: str) -> np.ndarray:
    """Return the F-measure of each segment (segments,), from 0 to 1; `kind` is one of KINDS."""
    from rouge_score import rouge_scorer, tokenizers  # slow: imports nltk

    class Words(tokenizers.Tokenizer):
        """The tokenizer of this module, for rouge-score."""

        def tokenize(self, text: str) -> list[str]:
            """Return the tokens of a text."""
            return tokens(text, language)

    scorer = rouge_scorer.RougeScorer([kind], tokenizer=Words())
    pairs = zip(references, hypotheses, strict=True)
    return np.array([scorer.score(reference, hypothesis)[kind].fmeasure for reference, hypothesis in pairs])
