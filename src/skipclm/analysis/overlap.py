"""Overlap between splits: sentences of a held-out split that also occur in another split, exactly or nearly."""

import pandas as pd

from skipclm.evaluation.rouge import tokens
from skipclm.text import key

NGRAM_ORDER = 4  # of the n-grams
# A sentence is a near duplicate if this share of its n-grams occurs in the other split.
NEAR_DUPLICATE_SHARE = 0.8
COLUMNS = ["pair", "language", "split", "other", "sentences", "exact", "near", "ngrams_seen"]


def overlap_table(corpus: dict[tuple[str, str], dict[str, list[str]]]) -> pd.DataFrame:
    """Return a row for each pair, language and held-out split, with each earlier split in the order of `corpus`.

    `corpus` maps (pair, language) to the sentences of each split. Columns:
    - pair, language, split, other;
    - sentences: number of sentences of `split`;
    - exact: how many of them occur in `other`, ignoring case, punctuation and invisible characters;
    - near: how many have at least 80 % of their 4-grams in `other` (word n-grams; character n-grams for languages
      without spaces; a shorter sentence is one n-gram);
    - ngrams_seen: percentage of all n-grams of `split` that occur in `other`.
    """
    rows = []
    for (pair, language), splits in corpus.items():
        names = list(splits)
        for split in names:
            if split == "train":
                continue
            for other in names[: names.index(split)]:
                rows.append((pair, language, split, other, *_compare(splits[split], splits[other], language)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _compare(sentences: list[str], others: list[str], language: str) -> tuple[int, int, int, float]:
    """Return the columns sentences, exact, near and ngrams_seen."""
    tokenized, other_tokenized = ([tokens(key(line), language) for line in lines] for lines in (sentences, others))
    other_sentences = {tuple(words) for words in other_tokenized}
    other_ngrams = {ngram for words in other_tokenized for ngram in _ngrams(words)}
    exact = sum(bool(words) and tuple(words) in other_sentences for words in tokenized)
    counts = [
        (sum(ngram in other_ngrams for ngram in ngrams), len(ngrams)) for ngrams in map(_ngrams, tokenized) if ngrams
    ]
    near = sum(seen >= NEAR_DUPLICATE_SHARE * count for seen, count in counts)
    total = sum(count for _, count in counts)
    return len(sentences), exact, near, 100 * sum(seen for seen, _ in counts) / total if total else 0.0


def _ngrams(words: list[str]) -> set[tuple[str, ...]]:
    """Return the n-grams of a sentence; the whole sentence if it is shorter."""
    return (
        {tuple(words[start : start + NGRAM_ORDER]) for start in range(max(1, len(words) - NGRAM_ORDER + 1))}
        if words
        else set()
    )
