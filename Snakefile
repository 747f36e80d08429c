"""SkipCLM: at which layers does a decoder language model learn to translate?"""

from snakemake.utils import min_version

min_version("9.0")


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
    if Path(f"{RESULTS}/report.txt").exists():
        print(Path(f"{RESULTS}/report.txt").read_text(encoding="utf-8"))
