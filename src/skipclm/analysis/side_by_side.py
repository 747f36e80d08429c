"""Table of the translations of one pair by all variants, side by side, with segment scores."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from skipclm.evaluation.metrics import METRICS


def translation_table(
    sources: list[str],
    references: list[str],
    hypotheses: dict[str, list[str]],
    contributions: dict[str, np.ndarray],
    metric: str,
    untrained: Collection[str] = (),
) -> pd.DataFrame:
    """Return one row per segment; the segments with the largest differences between trained variants come first.

    `hypotheses` and `contributions`, the segments' statistics (segments, k) for `metric`, are by variant. Columns: line
    (from 1), spread (highest minus lowest score, without the `untrained` variants), source, reference, and for each
    variant `<variant>_text` and `<variant>_<metric>` (segment score).
    """
    scores = {name: METRICS[metric].total(statistics) for name, statistics in contributions.items()}
    table = pd.DataFrame(
        {"line": range(1, len(sources) + 1), "spread": 0.0, "source": sources, "reference": references}
    )
    for name, lines in hypotheses.items():
        table[f"{name}_text"], table[f"{name}_{metric}"] = lines, scores[name]
    if trained := [values for name, values in scores.items() if name not in untrained]:
        table["spread"] = np.ptp(np.stack(trained), axis=0)
    return table.sort_values(["spread", "line"], ascending=[False, True], ignore_index=True)
