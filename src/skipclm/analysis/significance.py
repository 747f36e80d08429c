"""Is a difference more than chance? Tests on the same segments, and one interval over segments and training seeds.

A system is an array (seeds, segments, k): for each training seed, what each segment contributes to the score. `total`
turns sums of such contributions (n, k) into n corpus scores, so that a score can be had for any choice of segments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import optimize, stats

from skipclm.evaluation.metrics import METRICS

Total = Callable[[np.ndarray], np.ndarray]
RESAMPLES = 1000  # of segments, as sacrebleu does by default ...
TRIALS = 10000  # ... and its exchanges of segments between two systems
SEED = 12345  # sacrebleu's, so that both choose alike
LEVEL = 0.95


@dataclass(frozen=True)
class Comparison:
    """A system against another: the difference of their mean scores, and what chance would make of it.

    `low` and `high` bound the difference at the 95 % level, and `p` is that of no difference, both with the choice of
    segments and of training seeds taken for chance. `p_bootstrap` and `p_randomization` know of segments only.
    """

    difference: float
    low: float
    high: float
    p: float
    p_bootstrap: float
    p_randomization: float
    seeds: int


def compare(total: Total, system: np.ndarray, other: np.ndarray) -> Comparison:
    """Compare two systems, arrays (seeds, segments, k) over the same segments, and over seeds that belong together."""
    differences = corpus_scores(total, system) - corpus_scores(total, other)
    scores = [resampled_scores(total, each)[1] for each in (system, other)]
    low, high, p = interval(differences, scores[0] - scores[1], system.shape[1])
    return Comparison(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p=p,
        p_bootstrap=_paired_bootstrap(differences, *scores),
        p_randomization=_paired_randomization(total, differences, system, other),
        seeds=len(differences),
    )


def against(
    baseline: str | None, runs: list[dict], segments: list[dict[str, np.ndarray]], names: list[str]
) -> pd.DataFrame:
    """Compare every variant of the ablation with `baseline`: on every split and pair, by every metric.

    `runs` are their scores, and `segments` what each segment contributes, in the same order. Columns: pair, split,
    variant, baseline, metric, the fields of `Comparison`, p_holm (p corrected for the number of the split's rows) and
    verdict: better or worse if p_holm is below 0.05, else empty. Seeds are those that both variants have. A row has
    nothing else if a run of either diverged or failed, for what is left would flatter it, or if the metric did not run.
    """
    systems: dict[tuple, dict[str, dict]] = {}
    for run, contributions in zip(runs, segments, strict=True):
        systems.setdefault((run["split"], run["pair"]), {}).setdefault(run["run"], {})[run["seed"]] = contributions
    rows = [
        {"pair": pair, "split": split, "variant": variant, "baseline": baseline, "metric": name}
        | _compared(seeds, variants[baseline], name)
        for (split, pair), variants in systems.items()
        for variant, seeds in variants.items()
        for name in names
        if variant != baseline and baseline in variants
    ]
    table = pd.DataFrame(rows, columns=["pair", "split", "variant", "baseline", "metric", *Comparison.__annotations__])
    for _, known in table[table["p"].notna()].groupby("split"):
        table.loc[known.index, "p_holm"] = holm(known["p"].to_numpy(dtype=float))
    table = table.reindex(columns=[*table.columns.drop("p_holm", errors="ignore"), "p_holm"])
    table["verdict"] = [_verdict(row) for row in table.itertuples()]
    return table


def _compared(ours: dict[int, dict], theirs: dict[int, dict], name: str) -> dict:
    """Return a comparison by one metric of two variants, whose segments are given by seed."""
    both = [seed for seed in ours if name in ours[seed] and name in theirs.get(seed, {})]
    if not both or any(name not in seed for seed in (*ours.values(), *theirs.values())):
        return {"seeds": len(both)}
    system, other = (np.stack([variant[seed][name] for seed in both]) for variant in (ours, theirs))
    return vars(compare(METRICS[name].total, system, other))


def _verdict(row: tuple) -> str | None:
    if pd.isna(row.p_holm) or row.p_holm >= 1 - LEVEL:
        return None
    better = row.difference * METRICS[row.metric].sign()
    return {True: "better", False: "worse"}[better > 0] if better else None


def corpus_scores(total: Total, system: np.ndarray) -> np.ndarray:
    """Return the score of each seed: (seeds,)."""
    return total(system.sum(axis=1))


@lru_cache(maxsize=2)
def resampled_counts(segments: int) -> np.ndarray:
    """Return how often each segment is drawn in each resample, with replacement: (resamples, segments)."""
    drawn = np.random.default_rng(SEED).choice(segments, size=(RESAMPLES, segments), replace=True)
    return np.stack([np.bincount(row, minlength=segments) for row in drawn])


def resampled_scores(total: Total, system: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of each seed (seeds,), and those of its resamples (resamples, seeds)."""
    counts = resampled_counts(system.shape[1])
    return corpus_scores(total, system), np.stack([total(counts @ seed) for seed in system], axis=1)


def interval(differences: np.ndarray, resampled: np.ndarray, segments: int) -> tuple[float, float, float]:
    """Return the interval of the mean difference, and p: from differences (seeds,), and resampled (resamples, seeds).

    Seeds and segments are crossed, each seed's system having translated all segments: the variance of the mean is that
    over seeds, plus that over segments less what segments owe to single seeds, which the former has already. There
    are few seeds and many segments, so that the two go by Student's distributions of unlike freedom. Quantiles are
    halfway between those of Cochran (1964), on the safe side, and of Satterthwaite (1946), on the other. With one
    seed, the spread over seeds cannot be known, and is left out. One segment tells nothing: NaN.
    """
    if segments < 2:
        return float("nan"), float("nan"), float("nan")
    mean, seeds = differences.mean(), len(differences)
    means = resampled.mean(axis=1)
    of_segments, of_seeds, of_both = means.var(ddof=1), 0.0, 0.0
    if seeds > 1:
        of_seeds = differences.var(ddof=1) / seeds
        of_both = (resampled - means[:, None]).var(axis=0, ddof=1).sum() / (seeds * (seeds - 1))
    variances = np.array([of_seeds, max(of_segments - of_both, 0.0)])
    if not variances.any():
        return mean, mean, float(mean == 0)
    freedom = np.array([max(seeds - 1, 1), segments - 1])
    joint = variances.sum() ** 2 / (variances**2 / freedom).sum()

    def margin(p: float) -> float:
        cochran = variances @ stats.t.isf(p / 2, freedom) / variances.sum()
        return (cochran + stats.t.isf(p / 2, joint)) / 2 * variances.sum() ** 0.5

    smallest = 1e-12
    p = smallest if margin(smallest) < abs(mean) else optimize.brentq(lambda p: margin(p) - abs(mean), smallest, 1.0)
    return mean - margin(1 - LEVEL), mean + margin(1 - LEVEL), p


def _paired_bootstrap(differences: np.ndarray, scores: np.ndarray, others: np.ndarray) -> float:
    """Return p by paired bootstrap (Koehn 2004), as sacrebleu has it; scores are (resamples, seeds)."""
    resampled = np.abs(scores.mean(axis=1) - others.mean(axis=1))
    return _share_above(resampled - resampled.mean(), abs(differences.mean()))


def _paired_randomization(total: Total, differences: np.ndarray, system: np.ndarray, other: np.ndarray) -> float:
    """Return p by approximate randomisation (Riezler and Maxwell 2005): segments change sides.

    The exchanges are sacrebleu's. Where they leave the very same difference, as TER's small numbers may, p is higher
    than its, which does not count them.
    """
    chosen = np.random.default_rng(SEED).integers(2, size=(TRIALS, system.shape[1]), dtype=bool)
    whole, shuffled = (system + other).sum(axis=1), []
    for part in np.array_split(chosen, TRIALS // 1000):  # for the memory
        ours = [part @ theirs + ~part @ mine for mine, theirs in zip(system, other, strict=True)]
        both = [total(each) - total(all_ - each) for each, all_ in zip(ours, whole, strict=True)]
        shuffled.append(np.mean(both, axis=0))
    return _share_above(np.abs(np.concatenate(shuffled)), abs(differences.mean()))


def _share_above(found: np.ndarray, difference: float) -> float:
    # sacrebleu counts what is greater alone, by which a system would differ from itself with the smallest p there is.
    return (np.sum(found >= difference).item() + 1) / (len(found) + 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values (n,) for their number by Holm's method (1979)."""
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected
