"""Artificial scores of an ablation."""

import math

import pandas as pd

COLUMNS = ["pair", "split", "variant", "seed", "metric", "value", "signature", "status", "note", "sentences"]
COMPARED = ["pair", "split", "variant", "metric", "baseline", "difference", "low", "high", "p_holm", "verdict"]
NAN = float("nan")


def tidy_scores(values, pair="en-de", metric="bleu", signature="nrefs:1|tok:13a", split="test"):
    """Return a table of scores from {variant: values by seed}; NaN stands for a diverged run."""
    rows = [
        (pair, split, variant, seed, metric, value)
        + ((None, "diverged", None, 500) if math.isnan(value) else (signature, "ok", None, 500))
        for variant, by_seed in values.items()
        for seed, value in enumerate(by_seed, start=1)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def compared(**rows):
    """Return a table of significance from {variant: (p_holm, verdict)}, for BLEU on en-de."""
    values = [("en-de", "test", v, "bleu", "finetune", -1.0, -2.0, -0.1, *row) for v, row in rows.items()]
    return pd.DataFrame(values, columns=COMPARED)
