"""Files of translations and of their scores: nothing is scored but what was translated, and segments are kept."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from skipclm.data.text_files import read_lines
from skipclm.errors import InputError
from skipclm.runtime import atomic

TRANSLATES = ("ok", "untrained")  # of the statuses of a run; one that diverged or failed has no translations
IDENTITY = ("stage", "pair", "run", "seed", "split")


def identity(wildcards: object) -> dict[str, str | int]:
    """Return which run translated or was scored, and what, from a rule's wildcards."""
    return {key: getattr(wildcards, key) for key in IDENTITY} | {"seed": int(wildcards.seed)}


def describe(path: str | Path, cut: list[bool], of: dict) -> dict:
    """Return what identifies a file of translations: whose, its digest and lines, and which lines were cut (from 1)."""
    return of | {
        "sha256": atomic.sha256(path),
        "lines": len(cut),
        "cut": [number for number, is_cut in enumerate(cut, start=1) if is_cut],
    }


def read_hypotheses(path: str | Path, generation: dict, of: dict) -> tuple[list[str], list[bool]]:
    """Return the translations of a file, and which were cut.

    Raises an `InputError` if `generation` is not of the run and split `of`, or the file not the one that it describes:
    another run's, or one that has lost a line or was edited.
    """
    found = {key: generation.get(key) for key in of}
    if found != of:
        raise InputError(
            f"{path}: expected translations of {' '.join(map(str, of.values()))}, found beside it the description of "
            f"{' '.join(map(str, found.values()))}; remove both, so that they are translated again"
        )
    lines = read_lines(path)
    if len(lines) != generation["lines"] or atomic.sha256(path) != generation["sha256"]:
        raise InputError(
            f"{path}: expected the {generation['lines']} translations that this run made (sha256 "
            f"{generation['sha256'][:12]}...), found {len(lines)} lines of another file; remove it, so that they are "
            "translated again"
        )
    cut = set(generation["cut"])
    return lines, [number in cut for number in range(1, len(lines) + 1)]


def read_scored(path: str | Path, scores: dict) -> list[str]:
    """Return the translations of a file; raise an `InputError` if it is not the one that the `scores` are of."""
    if atomic.sha256(path) != scores["hypotheses_sha256"]:
        raise InputError(
            f"{path}: expected the translations that the scores beside it are of (sha256 "
            f"{scores['hypotheses_sha256'][:12]}...), found another file; remove it, so that they are made again"
        )
    return read_lines(path)


def save_segments(path: str | Path, contributions: dict[str, np.ndarray]) -> None:
    """Write what each segment contributes to each metric, arrays (segments, k), as one safetensors file."""
    with atomic.new_file(path) as temporary:
        save_file({name: np.ascontiguousarray(rows) for name, rows in contributions.items()}, temporary)


def load_segments(path: str | Path, scores: dict) -> dict[str, np.ndarray]:
    """Read what `save_segments` wrote; raise an `InputError` if it is not the file that the `scores` came from."""
    if atomic.sha256(path) != scores["segments_sha256"]:
        raise InputError(
            f"{path}: expected the segments that the scores beside it were summed from (sha256 "
            f"{scores['segments_sha256'][:12]}...), found another file; remove it, so that the run is scored again"
        )
    return load_file(path)
