"""Measure how long Snakemake takes to plan a large grid, before and after it has run; write docs/planning.md.

make bench-planning    # 10 minutes: every job runs, with a stub for its script
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
# The stub writes the outputs of its rule. It replaces all scripts except these two.
REAL_SCRIPTS = ("collect_grid", "select_best")
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
    """Copy the workflow and replace its scripts by the stub."""
    make_copy(folder)
    for script in (folder / "workflow/scripts").glob("*.py"):
        if script.stem not in REAL_SCRIPTS:
            script.write_text(STUB, encoding="utf-8")
    (folder / "large.yaml").write_text(yaml.safe_dump(OVERLAY), encoding="utf-8")


def seconds(folder: Path, *options: str) -> tuple[float, str]:
    """Return how many seconds Snakemake takes, and its output."""
    started = time.perf_counter()
    output = snakemake(folder, *options, "--configfile", "large.yaml")
    return time.perf_counter() - started, output


def main() -> None:
    """Plan the workflow, run it, and plan it again; write the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        planned, output = seconds(folder, "--dry-run")
        if f"train_cell {CELLS}" not in " ".join(output.split()):
            raise RuntimeError(output[-5000:])
        seconds(folder, "--quiet", "all")
        finished, output = seconds(folder)
        if "Nothing to be done" not in output:
            raise RuntimeError(output[-5000:])
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
