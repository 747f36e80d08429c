"""Simulate how often the significance test finds a difference if there is none, and if there is one.

make statistics    # writes docs/statistics.md
"""

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from skipclm.analysis import significance
from skipclm.demo import generator
from skipclm.evaluation.metrics import METRICS, Translations, measure

PAGE = Path(__file__).parents[1] / "docs/statistics.md"
TRIALS = 2000
MANY, FEWER = 10000, 200
SEGMENTS = 150
LEVEL = 0.05
# The level for the smallest p of 25 comparisons after Holm's correction; a large table has that many.
STRICT = 0.002

# Standard deviations of a difference over seeds, over segments, and over segments separately for each seed.
SPREADS = {
    "segments only": (0.0, 1.0, 0.0),
    "segments, separately for each seed": (0.0, 0.0, 1.0),
    "seeds, and segments separately for each seed": (0.3, 0.0, 0.5),
    "all three": (0.1, 0.5, 1.0),
}

Trial = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]  # differences (seeds,), (resamples, seeds)


def detection_rate(trial: Trial, trials: int = TRIALS, level: float = LEVEL) -> float:
    """Return the share of trials in which the test finds a difference at this level."""
    random = np.random.default_rng(11)
    return float(np.mean([significance.interval(*trial(random), SEGMENTS)[2] < level for _ in range(trials)]))


def normal_trial(spreads: tuple[float, float, float], seeds: int, effect: float = 0.0) -> Trial:
    """Return a trial of a mean over segments; differences are normal draws around `effect` with these spreads."""
    counts = significance.resampled_counts(SEGMENTS)

    def trial(chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        shapes = ((seeds, 1), (1, SEGMENTS), (seeds, SEGMENTS))
        parts = [chance.normal(0, spread, shape) for spread, shape in zip(spreads, shapes, strict=True)]
        differences = effect + sum(parts)
        return differences.mean(axis=1), (counts @ differences.T) / SEGMENTS

    return trial


class DamagedText:
    """German sentences from which systems lose words.

    Each kind of system has a mean share of lost words; the share of a seed varies around it with `spread`.
    """

    SEEDS = 40
    SENTENCES = 600

    def __init__(self, shares: list[float], spread: float = 0.003) -> None:
        references = [row["de"] for row in generator.generate(self.SENTENCES, 5)]
        chance = np.random.default_rng(3)
        self.kinds = [
            np.stack([self._system(references, share, chance) for share in chance.normal(kind, spread, self.SEEDS)])
            for kind in shares
        ]

    @staticmethod
    def _system(references: list[str], share: float, chance: np.random.Generator) -> np.ndarray:
        """Return the contribution of each segment to BLEU, (segments, k)."""
        lines = [" ".join(word for word in line.split() if chance.random() > share) for line in references]
        return measure(Translations(lines, references, references, "en", "de"), ["bleu"])[1]["bleu"]

    def bleu(self, kind: int) -> float:
        """Return the mean BLEU of the systems of a kind."""
        return float(significance.corpus_scores(METRICS["bleu"].total, self.kinds[kind]).mean())

    def trial(self, kind: int, other: int, seeds: int) -> Trial:
        """Return a trial of BLEU: seeds and sentences are drawn from two kinds of systems, or from the same kind."""
        total = METRICS["bleu"].total

        def trial(chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            indices = chance.permutation(self.SEEDS)[: 2 * seeds].reshape(2, seeds)
            sentences = chance.permutation(self.SENTENCES)[:SEGMENTS]
            sides = [self.kinds[k][rows][:, sentences] for k, rows in zip((kind, other), indices, strict=True)]
            (scores, resampled), (others, others_resampled) = (significance.resampled_scores(total, s) for s in sides)
            return scores - others, resampled - others_resampled

        return trial


def false_positives() -> pd.DataFrame:
    """Return how often a difference is found if there is none, in per cent, by the number of seeds."""
    text = DamagedText([0.15])
    rows = _rates_of_spreads([1, 2, 3, 5], TRIALS, LEVEL)
    rows.append({"spread over": "BLEU of damaged text"} | {n: detection_rate(text.trial(0, 0, n)) for n in (2, 3)})
    return _in_per_cent(pd.DataFrame(rows), [1, 2, 3, 5])


def false_positives_after_correction() -> pd.DataFrame:
    """Return how often p is below the level of a correction for many comparisons, if there is no difference."""
    return _in_per_cent(pd.DataFrame(_rates_of_spreads([2, 3, 5], MANY, STRICT)), [2, 3, 5], digits=2)


def _rates_of_spreads(seeds: list[int], trials: int, level: float) -> list[dict]:
    # With one seed, the spread over seeds cannot be estimated.
    return [
        {"spread over": name}
        | {n: detection_rate(normal_trial(spreads, n), trials, level) for n in seeds if n > 1 or not spreads[0]}
        for name, spreads in SPREADS.items()
    ]


def power() -> pd.DataFrame:
    """Return how often a true difference in BLEU is found, in per cent, by the number of seeds."""
    shares = [0.15, 0.155, 0.16, 0.17, 0.19]
    text = DamagedText(shares)
    rows = [
        {"BLEU difference": f"{text.bleu(0) - text.bleu(other):.1f}"}
        | {seeds: detection_rate(text.trial(0, other, seeds), FEWER) for seeds in (2, 3, 5)}
        for other in range(1, len(shares))
    ]
    return _in_per_cent(pd.DataFrame(rows), [2, 3, 5])


def _in_per_cent(table: pd.DataFrame, seeds: list[int], digits: int = 1) -> pd.DataFrame:
    for count in seeds:
        table[count] = [f"{100 * share:.{digits}f}" if share == share else "" for share in table[count]]
    return table.rename(columns={count: f"{count} seed{'s' * (count > 1)}" for count in seeds})


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
    lines = [list(table.columns), ["---"] + ["---:"] * (len(table.columns) - 1), *table.values.tolist()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def page() -> str:
    """Return the text of the page."""
    spread = significance.corpus_scores(METRICS["bleu"].total, DamagedText([0.15]).kinds[0]).std(ddof=1)
    return f"""# How reliable a mark of significance is

Written on {datetime.date.today()} by `make statistics`. Each number is the percentage of simulated trials in which
`skipclm.analysis.significance` finds p < 0.05 between two systems on {SEGMENTS} segments. The test treats both the
segments and the training seeds as random. The p-values here are not corrected for several comparisons; those of the
tables are.

## No true difference

Each number comes from {TRIALS:,} simulated trials. A correct test reports a (false) difference in 5 per cent of the
trials. In the first four rows, a system's score is a mean of normal draws, and the row names where the draws vary:
between segments (the same for all seeds), between segments in a different way for each seed, or between seeds. "All
three" combines these. The last row uses sentences of the built-in corpus from which words are removed, each seed with
its own share, so that seeds differ by {spread:.1f} BLEU (standard deviation).

{to_markdown(false_positives())}

One seed cannot distinguish a better method from a luckier seed: if seeds differ, its p-value is valid for that seed
only. With two seeds, the false-positive rate can be one or two percentage points above 5 per cent. The default is three
seeds.

In a table of about 25 comparisons, the smallest p-value must be below {STRICT} to be significant after Holm correction.
The next table gives the percentage of {MANY:,} trials with a p-value below {STRICT}; for a correct test this is
{100 * STRICT:.1f}:

{to_markdown(false_positives_after_correction())}

If seeds differ strongly and there are only two or three, such a small p occurs more often than it should. In a table of
this size, treat a mark with p close to the limit as a hint, and train more seeds.

## A true difference

The percentage of {FEWER} trials in which a true difference is found, on the same text with removed words:

{to_markdown(power())}

The number of seeds matters more than the number of segments. With two seeds, only a difference much larger than the
spread of the seeds is found.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
