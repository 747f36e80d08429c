"""Simulate how often the significance test finds a difference, with and without a true difference.

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
# The level of the smallest p after Holm's correction for about 25 comparisons, as in a large table.
HOLM_LEVEL = 0.002

# Standard deviations of a difference over seeds, over segments, and over segments for each seed separately.
SPREADS = {
    "segments alone": (0.0, 1.0, 0.0),
    "each seed on segments of its own": (0.0, 0.0, 1.0),
    "seeds, and each on segments of its own": (0.3, 0.0, 0.5),
    "all three": (0.1, 0.5, 1.0),
}

Trial = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]  # differences (seeds,), (resamples, seeds)


def detection_rate(trial: Trial, trials: int = TRIALS, level: float = LEVEL) -> float:
    """Return the share of trials in which the test finds a difference at a level, by default 5 %."""
    chance = np.random.default_rng(11)
    return float(np.mean([significance.interval(*trial(chance), SEGMENTS)[2] < level for _ in range(trials)]))


def drawn(spreads: tuple[float, float, float], seeds: int, effect: float = 0.0) -> Trial:
    """Return a trial of a mean over segments; differences are drawn around `effect` with these spreads."""
    counts = significance.resampled_counts(SEGMENTS)

    def trial(chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        shapes = ((seeds, 1), (1, SEGMENTS), (seeds, SEGMENTS))
        parts = [chance.normal(0, spread, shape) for spread, shape in zip(spreads, shapes, strict=True)]
        differences = effect + sum(parts)
        return differences.mean(axis=1), (counts @ differences.T) / SEGMENTS

    return trial


class DamagedText:
    """Systems that lose words of German sentences: each seed has its own share, around the share of its kind."""

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
        """Return the contributions of the segments to BLEU (segments, k)."""
        lines = [" ".join(word for word in line.split() if chance.random() > share) for line in references]
        return measure(Translations(lines, references, references, "en", "de"), ["bleu"])[1]["bleu"]

    def bleu(self, kind: int) -> float:
        """Return the mean BLEU of the systems of a kind."""
        return float(significance.corpus_scores(METRICS["bleu"].total, self.kinds[kind]).mean())

    def trial(self, kind: int, other: int, seeds: int) -> Trial:
        """Return a trial of BLEU: seeds and sentences drawn from two kinds of systems, or from one."""
        total = METRICS["bleu"].total

        def trial(chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            chosen = chance.permutation(self.SEEDS)[: 2 * seeds].reshape(2, seeds)
            sentences = chance.permutation(self.SENTENCES)[:SEGMENTS]
            sides = [self.kinds[k][rows][:, sentences] for k, rows in zip((kind, other), chosen, strict=True)]
            (scores, resampled), (others, others_resampled) = (significance.resampled_scores(total, s) for s in sides)
            return scores - others, resampled - others_resampled

        return trial


def without_difference() -> pd.DataFrame:
    """Return the percentage of differences found without a true difference, by the number of seeds."""
    text = DamagedText([0.15])
    rows = _rates_by_spread([1, 2, 3, 5], TRIALS, LEVEL)
    rows.append({"spread over": "BLEU of damaged text"} | {n: detection_rate(text.trial(0, 0, n)) for n in (2, 3)})
    return _in_per_cent(pd.DataFrame(rows), [1, 2, 3, 5])


def without_difference_at_holm_level() -> pd.DataFrame:
    """Return the percentage of trials with p below the level that a correction for many comparisons requires."""
    return _in_per_cent(pd.DataFrame(_rates_by_spread([2, 3, 5], MANY, HOLM_LEVEL)), [2, 3, 5], digits=2)


def _rates_by_spread(seeds: list[int], trials: int, level: float) -> list[dict]:
    # One seed has no spread over seeds.
    return [
        {"spread over": name}
        | {n: detection_rate(drawn(spreads, n), trials, level) for n in seeds if n > 1 or not spreads[0]}
        for name, spreads in SPREADS.items()
    ]


def with_difference() -> pd.DataFrame:
    """Return the percentage of true differences in BLEU that are found, by the number of seeds."""
    shares = [0.15, 0.155, 0.16, 0.17, 0.19]
    text = DamagedText(shares)
    rows = [
        {"BLEU apart": f"{text.bleu(0) - text.bleu(other):.1f}"}
        | {seeds: detection_rate(text.trial(0, other, seeds), FEWER) for seeds in (2, 3, 5)}
        for other in range(1, len(shares))
    ]
    return _in_per_cent(pd.DataFrame(rows), [2, 3, 5])


def _in_per_cent(table: pd.DataFrame, seeds: list[int], digits: int = 1) -> pd.DataFrame:
    for count in seeds:
        table[count] = [f"{100 * share:.{digits}f}" if share == share else "" for share in table[count]]
    return table.rename(columns={count: f"{count} seed{'s' * (count > 1)}" for count in seeds})


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
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

{TRIALS:,} trials each. A correct test finds a difference in 5 per cent of them. In the first four rows, a system's
score is a mean of normal draws, and the row names where the draws vary: between segments (the same for all seeds),
between segments in a different way for each seed, or between seeds. "All three" combines these. The last row uses
sentences of the built-in corpus from which words are removed, each seed with its own share, so that seeds differ by
{spread:.1f} BLEU (standard deviation).

{to_markdown(without_difference())}

One seed cannot distinguish a better method from a luckier seed: if seeds differ, its p-value is valid for that seed
only. With two seeds, a difference can be found one or two percentage points too often. The default is three seeds.

In a table of about 25 comparisons, the Holm correction requires p < {HOLM_LEVEL} of the smallest p-value. The next
table has the percentage of {MANY:,} trials with p below this level. A correct test has {100 * HOLM_LEVEL:.1f}:

{to_markdown(without_difference_at_holm_level())}

If seeds differ strongly and there are only two or three, such a small p occurs more often than it should. In a table of
this size, treat a mark with p close to the limit as a hint, and train more seeds.

## A true difference

The percentage of {FEWER} trials in which a true difference is found, on the same text with removed words:

{to_markdown(with_difference())}

The number of seeds matters more than the number of segments. With two seeds, only a difference much larger than the
spread of the seeds is found.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
