"""Files of translations and scores. Digests ensure that scores and translations belong together."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from skipclm.data.text_files import read_lines
from skipclm.errors import InputError
from skipclm.runtime import atomic

TRANSLATED_STATUSES = ("ok", "untrained")  # a run that diverged or failed has no translations
IDENTITY = ("stage", "pair", "run", "seed", "split")


def identity(wildcards: object) -> dict[str, str | int]:
    """Return the identity of a run and split, as IDENTITY lists it, from a rule's wildcards."""
    return {key: getattr(wildcards, key) for key in IDENTITY} | {"seed": int(wildcards.seed)}


def describe(path: str | Path, cut: list[bool], run: dict) -> dict:
    """Return a description of a file of translations.

    It holds the identity `run` (see `identity`), the digest, the number of lines, and the numbers, from 1, of the lines
    that were cut.
    """
    return run | {
        "sha256": atomic.sha256(path),
        "lines": len(cut),
        "cut": [number for number, is_cut in enumerate(cut, start=1) if is_cut],
    }


def read_hypotheses(path: str | Path, generation: dict, run: dict) -> tuple[list[str], list[bool]]:
    """Return the translations of a file, and for each whether it was cut.

    `generation` is the description of the file, `run` the expected identity of run and split. Raises an `InputError` if
    the description is of another run or split, or if the file does not match it, for example because it was edited.
    """
    described = {key: generation.get(key) for key in run}
    if described != run:
        raise InputError(
            f"{path}: expected translations of {' '.join(map(str, run.values()))}, found beside it the description of "
            f"{' '.join(map(str, described.values()))}; remove both, so that they are translated again"
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
    """Return the translations of a file; raises an `InputError` if the `scores` belong to another file."""
    if atomic.sha256(path) != scores["hypotheses_sha256"]:
        raise InputError(
            f"{path}: expected the translations that the scores beside it belong to (sha256 "
            f"{scores['hypotheses_sha256'][:12]}...), found another file; remove it, so that they are made again"
        )
    return read_lines(path)


def save_segments(path: str | Path, contributions: dict[str, np.ndarray]) -> None:
    """Write the contributions of the segments to each metric, arrays (segments, k), as one safetensors file."""
    with atomic.new_file(path) as temporary:
        save_file({name: np.ascontiguousarray(rows) for name, rows in contributions.items()}, temporary)


def load_segments(path: str | Path, scores: dict) -> dict[str, np.ndarray]:
    """Read a file of `save_segments`; raises an `InputError` if the `scores` were computed from another file."""
    if atomic.sha256(path) != scores["segments_sha256"]:
        raise InputError(
            f"{path}: expected the segments that the scores beside it were computed from (sha256 "
            f"{scores['segments_sha256'][:12]}...), found another file; remove it, so that the run is scored again"
        )
    return load_file(path)
