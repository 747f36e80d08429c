"""SkipCLM: at which layers does a decoder language model learn to translate?"""

import time

from snakemake.utils import min_version

min_version("9.0")

STARTED = time.time()


configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/base.smk"
include: "workflow/rules/tokens.smk"
include: "workflow/rules/grid.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/report.smk"


rule all:
    """Search the grid, run the ablation and report."""
    default_target: True
    input:
        rules.write_report.output,


onsuccess:
    report = Path(rules.write_report.output.report)
    if report.exists() and report.stat().st_mtime >= STARTED:
        print(report.read_text(encoding="utf-8"))
