"""Translations of one pair side by side: source, reference and every variant, with the score of each segment."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from skipclm.evaluation.metrics import METRICS


def lay_out(
    sources: list[str],
    references: list[str],
    hypotheses: dict[str, list[str]],
    contributions: dict[str, np.ndarray],
    metric: str,
    untrained: Collection[str] = (),
) -> pd.DataFrame:
    """Return a row per segment, those first on which the trained variants differ most by `metric`.

    `hypotheses` and the metric's `contributions` (segments, k) are by variant. Columns: line (from 1), spread (highest
    less lowest score, without the `untrained`), source, reference, and for each variant `<variant>_text` and
    `<variant>_<metric>`, its score.
    """
    scores = {name: METRICS[metric].total(rows) for name, rows in contributions.items()}
    table = pd.DataFrame(
        {"line": range(1, len(sources) + 1), "spread": 0.0, "source": sources, "reference": references}
    )
    for name, lines in hypotheses.items():
        table[f"{name}_text"], table[f"{name}_{metric}"] = lines, scores[name]
    if compared := [rows for name, rows in scores.items() if name not in untrained]:
        table["spread"] = np.ptp(np.stack(compared), axis=0)
    return table.sort_values(["spread", "line"], ascending=[False, True], ignore_index=True)
