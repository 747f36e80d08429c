"""How much of what is held out has been seen: sentences that two splits have in common, word for word or nearly so."""

import pandas as pd

from skipclm.evaluation.rouge import tokens
from skipclm.text import key

SPAN = 4  # words in a row ...
NEAR = 0.8  # ... of which so large a share, seen elsewhere, makes a sentence nearly the same
COLUMNS = ["pair", "language", "split", "other", "sentences", "exact", "near", "ngrams_seen"]


def table(corpus: dict[tuple[str, str], dict[str, list[str]]]) -> pd.DataFrame:
    """Return a row for each pair, language and two splits that should have nothing in common.

    `corpus` holds sentences by split, by (pair, language). Columns: `sentences` of `split`; how many are `exact`ly in
    `other`, but for case, punctuation and invisible characters; how many are `near`: at least 80 % of their runs of
    four words (of characters where there are no spaces; of all words in a shorter sentence) are in it; and
    `ngrams_seen`, the share of all runs, in per cent.
    """
    rows = []
    for (pair, language), splits in corpus.items():
        names = list(splits)
        held_out = [name for name in names if name != "train"]
        pairs = [(split, other) for split in held_out for other in names[: names.index(split)]]
        rows += [(pair, language, *each, *_compare(*(splits[name] for name in each), language)) for each in pairs]
    return pd.DataFrame(rows, columns=COLUMNS)


def _compare(sentences: list[str], others: list[str], language: str) -> tuple[int, int, int, float]:
    ours, theirs = ([tokens(key(line), language) for line in lines] for lines in (sentences, others))
    known, seen = {tuple(words) for words in theirs}, {span for words in theirs for span in _spans(words)}
    exact = sum(bool(words) and tuple(words) in known for words in ours)
    found = [(sum(span in seen for span in spans), len(spans)) for spans in map(_spans, ours) if spans]
    near = sum(hits >= NEAR * count for hits, count in found)
    total = sum(count for _, count in found)
    return len(sentences), exact, near, 100 * sum(hits for hits, _ in found) / total if total else 0.0


def _spans(words: list[str]) -> set[tuple[str, ...]]:
    """Return the runs of SPAN words, or the whole of a shorter sentence."""
    return {tuple(words[start : start + SPAN]) for start in range(max(1, len(words) - SPAN + 1))} if words else set()
