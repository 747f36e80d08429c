"""How long Snakemake plans a large grid, and finds that nothing is left of a finished one; writes docs/planning.md.

make bench-planning    # 10 minutes: each job is run, but does next to nothing
"""

import datetime
import os
import platform
import tempfile
import time
from pathlib import Path

import yaml
from workflows import REPO, make_copy, snakemake

PAGE = REPO / "docs/planning.md"
OVERLAY = {
    "experiment": "large",
    "model": {"scratch": {"layers": 24}},
    "grid": {"seeds": [1], "contrastive_layer": ["1-10"], "skip_source": ["1-10"], "skip_target": ["11-20"]},
}
CELLS = 1000
# What stands in for the scripts: all of them make what the rules promise, and these two are kept.
KEPT = ("collect_grid", "select_best")
STUB = """
import json
from pathlib import Path

for path in map(Path, snakemake.output):
    if path.name in ("model", "base"):
        path.mkdir()
    elif path.name.endswith(".scores.json"):
        cell = [int(part[1:]) for part in snakemake.wildcards.run.split("-")] if "-" in snakemake.wildcards.run else []
        layers = dict(zip(("contrastive", "source", "target"), cell))
        metrics = {name: {"value": float(sum(cell)), "signature": "stub"} for name in snakemake.params.metrics}
        facts = {key: snakemake.wildcards[key] for key in ("pair", "run", "split")}
        facts |= {"seed": int(snakemake.wildcards.seed), "status": "ok", "sentences": 1}
        path.write_text(json.dumps(facts | {"layers": layers, "metrics": metrics}))
    else:
        path.write_text("{}")
"""


def prepare(folder: Path) -> None:
    """Copy the workflow, with scripts that do next to nothing."""
    make_copy(folder)
    for script in (folder / "workflow/scripts").glob("*.py"):
        if script.stem not in KEPT:
            script.write_text(STUB, encoding="utf-8")
    (folder / "large.yaml").write_text(yaml.safe_dump(OVERLAY), encoding="utf-8")


def seconds(folder: Path, *options: str) -> tuple[float, str]:
    """Return how long Snakemake takes, and what it says."""
    started = time.perf_counter()
    said = snakemake(folder, *options, "--configfile", "large.yaml")
    return time.perf_counter() - started, said


def main() -> None:
    """Plan, run, and plan again."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        planned, said = seconds(folder, "--dry-run")
        if f"train_cell {CELLS}" not in " ".join(said.split()):
            raise RuntimeError(said[-5000:])
        seconds(folder, "--quiet", "all")
        finished, said = seconds(folder)
        if "Nothing to be done" not in said:
            raise RuntimeError(said[-5000:])
    PAGE.write_text(page(planned, finished), encoding="utf-8")
    print(PAGE)


def page(planned: float, finished: float) -> str:
    """Return the text of the page."""
    return f"""# Planning a grid of a thousand runs

Measured on {datetime.date.today()} on {platform.machine()}, {os.cpu_count()} cores, by `make bench-planning`. The
workflow trains, translates and scores a grid of {CELLS:,} cells with one seed each, and the ablation on three pairs.

| | seconds |
| --- | ---: |
| `snakemake -n`, nothing done yet | {planned:.1f} |
| `snakemake`, all done: "Nothing to be done" | {finished:.1f} |

Snakemake itself takes nearly all of this time. The jobs and rules are those of the workflow, but their scripts are
replaced by stubs that do almost nothing.
"""


if __name__ == "__main__":
    main()
