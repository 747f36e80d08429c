"""Compare the speed of training and translation with other implementations; write docs/performance.md.

make bench                                           # the built-in corpus
make bench TEXT="--source news.en --target news.de"  # line-aligned text
"""

import argparse
import datetime
import platform
import random
import statistics
from pathlib import Path

import pandas as pd
import torch
import translation
from arms import ARMS, BATCH, BATCH_TOKENS, REPOSITORY, VOCABULARY
from rounds import alternate

from skipclm.data import bpe
from skipclm.data.examples import Examples
from skipclm.data.text_files import read_lines
from skipclm.demo import generator
from skipclm.report import figures
from skipclm.runtime import tsv

PAGE = REPOSITORY / "docs/performance.md"
FOLDER = REPOSITORY / "docs/performance"


def main() -> None:
    """Run both comparisons and write tables, figure and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help="sentences, one a line; the built-in corpus if not given")
    parser.add_argument("--target", help="their translations, line by line")
    parser.add_argument("--name", default="the built-in corpus, en-de", help="what the page calls the text")
    parser.add_argument("--sample", type=int, default=192, help="pairs that a round passes over")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.source:
        sides = [read_lines(options.source), read_lines(options.target)]
    else:
        sides = [[row[language] for row in generator.generate(2000, 1)] for language in ("en", "de")]
    trained = train(sides, options.sample, options.rounds)
    translated = translate(options.rounds)
    tsv.write(FOLDER / "training.tsv", trained)
    tsv.write(FOLDER / "translation.tsv", translated)
    draw(trained, FOLDER / "training")
    PAGE.write_text(page(trained, translated, options), encoding="utf-8")
    print(PAGE)


def train(sides: list[list[str]], sample: int, rounds: int) -> pd.DataFrame:
    """Return a row per arm: sentences per second of every round, their median, ratios and peak memory."""
    encoder = bpe.train(sides[0] + sides[1], VOCABULARY, 512)
    indices = random.Random(1).sample(range(len(sides[0])), sample)
    pairs = Examples.encoded(encoder, *[[side[i] for i in indices] for side in sides])
    seconds, memory = alternate(list(ARMS), (encoder, pairs), rounds)
    speeds = {arm: [sample / round_seconds for round_seconds in seconds[arm]] for arm in ARMS}
    medians = {arm: statistics.median(speeds[arm]) for arm in ARMS}
    rows = [
        {
            "arm": arm,
            "sentences_per_second": round(medians[arm], 2),
            "lowest": round(min(speeds[arm]), 2),
            "highest": round(max(speeds[arm]), 2),
            "times_stock": round(medians[arm] / medians["stock"], 2),
            "times_published": round(medians[arm] / medians["published"], 2),
            "cost_of_plain": round(medians["plain"] / medians[arm], 2),
            "peak_mib": round(memory[arm][1]),
            "peak_of_stock": round(memory[arm][1] / memory["stock"][1], 2),
        }
        for arm in ARMS
    ]
    return pd.DataFrame(rows)


def translate(rounds: int) -> pd.DataFrame:
    """Return a row per number of beams: tokens per second of both implementations, and the number of equal outputs."""
    folder, pairs = translation.trained_model()
    rows = []
    for beams in (1, 4):
        translation.compare(1, beams, folder, pairs)  # warm up
        result = translation.compare(rounds, beams, folder, pairs)
        stock, ours = (result["tokens"] / statistics.median(result[arm]) for arm in ("stock", "ours"))
        rows.append(
            {
                "beams": beams,
                "stock_tokens_per_second": round(stock),
                "our_tokens_per_second": round(ours),
                "times_stock": round(ours / stock, 2),
                "same_outputs": f"{result['same']} of {result['sentences']}",
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, stem: Path) -> None:
    """Draw speed and memory of the arms side by side."""
    with figures.drawing(stem, (figures.PAGE, 1.7)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        colours = ["0.5", "0.5", *[figures.VIRIDIS(0.3)] * (len(table) - 2)]
        panels = (left, "sentences_per_second", "Sentences per second"), (right, "peak_mib", "Peak memory (MiB)")
        for axes, column, label in panels:
            bars = axes.barh(table["arm"], table[column], color=colours)
            axes.bar_label(bars, fmt="%.4g", label_type="center", color="white", fontsize=7)
            axes.set_xlabel(label)
        low, high = (abs(table[column] - table["sentences_per_second"]) for column in ("lowest", "highest"))
        left.errorbar(table["sentences_per_second"], table["arm"], xerr=[low, high], fmt="none", ecolor="black", lw=0.8)
        left.invert_yaxis()


def page(trained: pd.DataFrame, translated: pd.DataFrame, options: argparse.Namespace) -> str:
    """Return the page, in Markdown."""
    return f"""# Performance

Measured on {datetime.date.today()} on {platform.machine()}, {torch.get_num_threads()} cores, no accelerator, with torch
{torch.__version__.split("+")[0]}, by `make bench` on {options.name}. No GPU was available.

## Training

Several trainers, called arms, are compared. Each arm runs in its own process, and the arms train in alternating rounds.
A round is one pass over the same {options.sample} pairs; speeds are medians of {options.rounds} rounds. The model has
the architecture of XGLM with 24 blocks of width 192 and a vocabulary of 32,000, random weights and no dropout. To use
your own text: `make bench TEXT="--source FILE --target FILE"`.

![Sentences per second and peak memory of each arm](performance/training.png)

{_markdown(trained)}

- **stock**: XGLM and Trainer of transformers, random batches of {BATCH} padded to the longest, labels on all tokens.
- **published**: reproduces the *cost* of the published recipe, not its code: one full forward pass, three passes
  through the first three blocks, eager attention, all logits, and garbage collection before and after.
- **plain**: fine-tuning with this package: batches of similar length with at most {BATCH} pairs and {BATCH_TOKENS:,}
  tokens including padding, fused attention, logits only at target positions and in chunks.
- **full, c = 3** and **full, c = 12**: plain, plus InfoNCE after block 3 or 12 and a skip from block 3 to block 18.

`lowest` and `highest` are the speeds of the slowest and the fastest round. `times_stock` and `times_published` are the
speed relative to these arms. `cost_of_plain` is the time relative to plain fine-tuning. `peak_mib` is the highest
resident memory of the process, including libraries; `peak_of_stock` is relative to the stock arm. In the arms of this
package, glibc returns large blocks to the system, as in every training of the package. The speed-up is smaller for
shorter sentences, because then most of the time of a step is spent in the optimiser, which is the same in all arms.

## Translation

A model trained on the built-in corpus translates {translation.TEST} sentences. The comparison is `generate` of
transformers on unsorted batches of {translation.BATCH}, with the same length limits. Speeds are medians of
{options.rounds} alternating rounds:

{_markdown(translated)}

`generate` uses eager attention; this package uses fused attention. It sorts the sentences by length and puts up to
{translation.TOKENS:,} tokens into a batch. In greedy search, each time half of a batch has ended, it continues with the
rest only. In beam search, a sentence can be translated differently in another batch, because the number of search steps
depends on the batch.
"""


def _markdown(table: pd.DataFrame) -> str:
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
