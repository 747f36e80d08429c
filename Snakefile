"""SkipCLM: at which layers does a decoder language model learn to translate?"""

import sys
import time

from snakemake.utils import min_version

# Snakemake looks for modules in this folder first: a user's random.py here is not to be taken for Python's own.
sys.path[:] = [path for path in sys.path if path != str(workflow.basedir)]

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


# What takes seconds and little memory: not worth a job of its own on a cluster.
localrules:
    all,
    collect_grid,
    select_best,
    collect_ablation,
    show_translations,
    plot_grid,
    plot_ablation,
    write_report,


rule all:
    """Search the grid, run the ablation and report."""
    default_target: True
    input:
        rules.try_base.output,
        rules.write_report.output,
        # So that a table or figure that was removed is made again ...
        rules.write_report.input,
        rules.collect_grid.output,
        rules.compare_cells.output,
        rules.compare_variants.output,
        rules.collect_ablation.output,
        # ... and a run whose folder was removed, with the tables.
        in_results(EXPERIMENT.run_files("grid", "valid.scores.json")),
        in_results(EXPERIMENT.test_files("scores.json")),
    message:
        "All is done"


onstart:
    try:
        if workflow.local_exec:  # not known when the rules are read
            validation.check_devices(config, devices.visible())
            if GPUS:
                devices.lock_folder()
        else:
            validation.check_paths(workflow.basedir, PYTHON, on_cluster=True)
    except InputError as error:
        raise WorkflowError(str(error))
    # With a limit on job starts, which it has by default, Snakemake looks for work once a second for every job that has
    # ever ended: after some hundred, that takes a third of a core.
    workflow.scheduler.job_rate_limiter = None
    invocation.begin(PLANNED)
    atomic.write_json(f"{RESULTS}/{cost.CONFIG}", config)


onsuccess:
    report = Path(rules.write_report.output.report)
    if report.exists() and report.stat().st_mtime >= STARTED:
        cost.conclude(report, Path(), config)
