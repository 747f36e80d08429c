"""Significance tests for score differences: confidence intervals over segments and seeds, and paired tests.

A system is an array (seeds, segments, k). It holds k sufficient statistics for each segment, for each training seed.
`total` computes n corpus scores from n sums of statistics (n, k), so any sample of segments can be scored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import optimize, stats

from skipclm.evaluation.metrics import METRICS

Total = Callable[[np.ndarray], np.ndarray]
# The defaults of sacrebleu; with the same seed, the samples are the same, too.
RESAMPLES = 1000  # bootstrap samples of segments
TRIALS = 10000  # trials of approximate randomization
SEED = 12345
LEVEL = 0.95  # of confidence intervals


@dataclass(frozen=True)
class Comparison:
    """The difference between the mean scores of two systems, with confidence interval and p-values.

    `low` and `high` are the bounds of the 95 % confidence interval. `p` is the p-value of the hypothesis that there is
    no difference. Both account for the variance over segments and over training seeds. `p_bootstrap` and
    `p_randomization` account for the variance over segments only.
    """

    difference: float
    low: float
    high: float
    p: float
    p_bootstrap: float
    p_randomization: float
    seeds: int


def compare(total: Total, system: np.ndarray, other: np.ndarray) -> Comparison:
    """Compare two systems, arrays (seeds, segments, k) with the same segments and the same seeds, in the same order."""
    system_scores, system_resampled = resampled_scores(total, system)
    other_scores, other_resampled = resampled_scores(total, other)
    differences = system_scores - other_scores
    low, high, p = interval(differences, system_resampled - other_resampled, system.shape[1])
    return Comparison(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p=p,
        p_bootstrap=_paired_bootstrap(differences, system_resampled, other_resampled),
        p_randomization=_paired_randomization(total, differences, system, other),
        seeds=len(differences),
    )


def compare_with_baseline(
    baseline: str | None, runs: list[dict], segments: list[dict[str, np.ndarray]], names: list[str]
) -> pd.DataFrame:
    """Compare every ablation variant with `baseline`, for every split, pair and metric.

    `runs` are the scores of the runs; `segments` are their statistics per segment by metric, in the same order.
    Columns: pair, split, variant, baseline, metric, the fields of `Comparison`, p_holm (p corrected for the number of
    tests on the split) and verdict: `better` or `worse` if p_holm is below 0.05, otherwise empty. Only seeds that both
    variants have are compared. If a run of either variant diverged or failed, the remaining seeds would give a biased
    score. In this case, and if the metric did not run, only the number of seeds is given.
    """
    systems: dict[tuple, dict[str, dict]] = {}
    for run, statistics in zip(runs, segments, strict=True):
        systems.setdefault((run["split"], run["pair"]), {}).setdefault(run["run"], {})[run["seed"]] = statistics
    rows = [
        {"pair": pair, "split": split, "variant": variant, "baseline": baseline, "metric": name}
        | _compare_variants(seeds, variants[baseline], name)
        for (split, pair), variants in systems.items()
        for variant, seeds in variants.items()
        for name in names
        if variant != baseline and baseline in variants
    ]
    table = pd.DataFrame(rows, columns=["pair", "split", "variant", "baseline", "metric", *Comparison.__annotations__])
    for _, tests in table[table["p"].notna()].groupby("split"):
        table.loc[tests.index, "p_holm"] = holm(tests["p"].to_numpy(dtype=float))
    table = table.reindex(columns=[*table.columns.drop("p_holm", errors="ignore"), "p_holm"])
    table["verdict"] = [_verdict(row) for row in table.itertuples()]
    return table


def _compare_variants(variant: dict[int, dict], baseline: dict[int, dict], name: str) -> dict:
    """Compare two variants by one metric; each maps a seed to the statistics of its segments, by metric."""
    seeds = [seed for seed in variant if name in variant[seed] and name in baseline.get(seed, {})]
    if not seeds or any(name not in statistics for statistics in (*variant.values(), *baseline.values())):
        return {"seeds": len(seeds)}
    system, other = (np.stack([run[seed][name] for seed in seeds]) for run in (variant, baseline))
    return vars(compare(METRICS[name].total, system, other))


def _verdict(row: tuple) -> str | None:
    """Return `better` or `worse`; None if the difference is not significant or the metric has no better direction."""
    if pd.isna(row.p_holm) or row.p_holm >= 1 - LEVEL:
        return None
    better = row.difference * METRICS[row.metric].sign()
    return {True: "better", False: "worse"}[better > 0] if better else None


def corpus_scores(total: Total, system: np.ndarray) -> np.ndarray:
    """Return the corpus score of each seed, (seeds,)."""
    return total(system.sum(axis=1))


@lru_cache(maxsize=2)
def resampled_counts(segments: int) -> np.ndarray:
    """Return how often each bootstrap sample contains each segment, (resamples, segments)."""
    samples = np.random.default_rng(SEED).choice(segments, size=(RESAMPLES, segments), replace=True)
    return np.stack([np.bincount(sample, minlength=segments) for sample in samples])


def resampled_scores(total: Total, system: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corpus score of each seed (seeds,), and the scores of the bootstrap samples (resamples, seeds)."""
    counts = resampled_counts(system.shape[1])
    return corpus_scores(total, system), np.stack([total(counts @ seed) for seed in system], axis=1)


def interval(differences: np.ndarray, resampled: np.ndarray, segments: int) -> tuple[float, float, float]:
    """Return the bounds of the confidence interval of the mean difference, and the p-value of no difference.

    `differences` (seeds,) are the score differences; `resampled` (resamples, seeds) are those of the bootstrap samples.

    Seeds and segments are crossed factors: the system of each seed translates all segments. The variance of the mean
    is the variance over seeds, plus the variance over segments, minus their interaction, which the variance over seeds
    already contains. There are few seeds and many segments, so the two variances have t distributions with different
    degrees of freedom. The quantile is the mean of the quantiles of Cochran (1964), which is conservative, and of
    Satterthwaite (1946), which is anti-conservative. With one seed, the variance over seeds is unknown and is left
    out. With one segment, all three values are NaN.
    """
    if segments < 2:
        return float("nan"), float("nan"), float("nan")
    mean, seeds = differences.mean(), len(differences)
    resampled_means = resampled.mean(axis=1)
    segment_variance, seed_variance, interaction = resampled_means.var(ddof=1), 0.0, 0.0
    if seeds > 1:
        seed_variance = differences.var(ddof=1) / seeds
        interaction = (resampled - resampled_means[:, None]).var(axis=0, ddof=1).sum() / (seeds * (seeds - 1))
    variances = np.array([seed_variance, max(segment_variance - interaction, 0.0)])
    if not variances.any():
        return mean, mean, float(mean == 0)
    freedom = np.array([max(seeds - 1, 1), segments - 1])
    satterthwaite_freedom = variances.sum() ** 2 / (variances**2 / freedom).sum()

    def margin(p: float) -> float:
        """Return the half-width of the confidence interval at the level 1 - p."""
        cochran = variances @ stats.t.isf(p / 2, freedom) / variances.sum()
        satterthwaite = stats.t.isf(p / 2, satterthwaite_freedom)
        return (cochran + satterthwaite) / 2 * variances.sum() ** 0.5

    smallest = 1e-12
    p = smallest if margin(smallest) < abs(mean) else optimize.brentq(lambda p: margin(p) - abs(mean), smallest, 1.0)
    return mean - margin(1 - LEVEL), mean + margin(1 - LEVEL), p


def _paired_bootstrap(differences: np.ndarray, system_scores: np.ndarray, other_scores: np.ndarray) -> float:
    """Return the p-value of paired bootstrap resampling (Koehn 2004), as in sacrebleu; scores (resamples, seeds)."""
    resampled = np.abs(system_scores.mean(axis=1) - other_scores.mean(axis=1))
    return _p_value(resampled - resampled.mean(), abs(differences.mean()))


def _paired_randomization(total: Total, differences: np.ndarray, system: np.ndarray, other: np.ndarray) -> float:
    """Return the p-value of paired approximate randomization (Riezler and Maxwell 2005).

    The trials swap the same segments as in sacrebleu. Some trials give exactly the observed difference, for example
    for TER with its small counts. They count here, but not in sacrebleu, so p is higher here.
    """
    swapped = np.random.default_rng(SEED).integers(2, size=(TRIALS, system.shape[1]), dtype=bool)
    sums, trial_differences = (system + other).sum(axis=1), []
    for swaps in np.array_split(swapped, TRIALS // 1000):  # in parts, to limit memory
        seed_differences = []
        for system_segments, other_segments, both in zip(system, other, sums, strict=True):
            first = swaps @ other_segments + ~swaps @ system_segments
            seed_differences.append(total(first) - total(both - first))
        trial_differences.append(np.mean(seed_differences, axis=0))
    return _p_value(np.abs(np.concatenate(trial_differences)), abs(differences.mean()))


def _p_value(null_differences: np.ndarray, difference: float) -> float:
    # sacrebleu uses >, which gives the smallest possible p-value for two identical systems.
    return (np.sum(null_differences >= difference).item() + 1) / (len(null_differences) + 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values (n,) for multiple tests by the method of Holm (1979)."""
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected
