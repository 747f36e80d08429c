"""Score translations with COMET or XCOMET, segment by segment. The only dependency is unbabel-comet.

If the model cannot run, the output contains the reason, and the job still succeeds: the other metrics do not need it.
"""

import argparse
import json
import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def main() -> None:
    """Write {"segments": [...], "signature": "..."}, or {"not_run": "why"}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="hub id, a checkpoint, or a folder with checkpoints/*.ckpt")
    for name in ("sources", "hypotheses", "references", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    try:
        result = score(options.model, *map(read_lines, (options.sources, options.hypotheses, options.references)))
    except NotRunError as reason:
        result = {"not_run": str(reason)}
    write(options.output, result)


class NotRunError(Exception):
    """The model cannot be run here; the message says why."""


def score(model: str, sources: list[str], hypotheses: list[str], references: list[str]) -> dict:
    """Return the score of each segment, from 0 to 1, and a signature."""
    try:
        comet_version = f"version:{version('unbabel-comet')}"
    except PackageNotFoundError as error:
        raise NotRunError("unbabel-comet is not installed (`make comet`, or --sdm conda)") from error
    if not hypotheses:  # the run diverged
        return {"segments": [], "signature": f"model:{model}|{comet_version}"}
    import torch
    from comet import download_model, load_from_checkpoint

    try:
        checkpoint = staged(model) or download_model(model)
        scorer = load_from_checkpoint(checkpoint, local_files_only=staged(model) is not None)
    except Exception as error:  # hub, disk and checkpoint raise different exceptions
        raise NotRunError(f"{model} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    rows = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(sources, hypotheses, references, strict=True)
    ]
    segments = predict(scorer, rows, int(torch.cuda.is_available()))
    return {"segments": segments, "signature": f"model:{Path(model).name}|{comet_version}"}


def predict(scorer: object, rows: list[dict], gpus: int) -> list[float]:
    """Return the score of each segment, with a smaller batch size if memory runs out."""
    import torch

    for batch_size in (16, 4, 1):
        try:
            scores = scorer.predict(rows, batch_size=batch_size, gpus=gpus, progress_bar=False).scores
            return [float(score) for score in scores]
        except torch.OutOfMemoryError as error:
            print(f"out of memory with {batch_size} segments at a time: {error}")
    raise NotRunError("there is not enough memory for one segment")


def staged(model: str) -> str | None:
    """Return the checkpoint of a local model (a file or a folder), or None."""
    path = Path(model).expanduser()
    checkpoints = [path] if path.is_file() else sorted(path.glob("**/*.ckpt"))
    return str(checkpoints[0]) if checkpoints else None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, split only at line feeds."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write(path: Path, result: dict) -> None:
    """Write JSON atomically."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
