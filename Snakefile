"""SkipCLM: search the layers at which a decoder language model learns to translate."""

import sys
import time

from snakemake.utils import min_version

# Snakemake puts this folder first on sys.path. Remove it, so that a user's random.py does not shadow Python's module.
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


# Rules that take seconds and little memory: not worth a separate cluster job.
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
        # Recreate a removed table or figure ...
        rules.write_report.input,
        rules.collect_grid.output,
        rules.compare_cells.output,
        rules.compare_variants.output,
        rules.collect_ablation.output,
        # ... and a run with a removed folder, including its tables.
        in_results(EXPERIMENT.run_files("grid", "valid.scores.json")),
        in_results(EXPERIMENT.test_files("scores.json")),
    message:
        "All jobs are done"


onstart:
    try:
        if workflow.local_exec:  # not yet known when Snakemake parses the rules
            validation.check_devices(config, devices.visible())
            if GPUS:
                devices.lock_folder()
        else:
            validation.check_paths(workflow.basedir, PYTHON, on_cluster=True)
    except InputError as error:
        raise WorkflowError(str(error))
    # With its default limit on job starts, Snakemake polls for work once a second for every finished job. After a few
    # hundred jobs, this takes a third of a core.
    workflow.scheduler.job_rate_limiter = None
    invocation.begin(PLANNED)
    atomic.write_json(f"{RESULTS}/{cost.CONFIG}", config)


onsuccess:
    report = Path(rules.write_report.output.report)
    if report.exists() and report.stat().st_mtime >= STARTED:
        cost.conclude(report, Path(), config)
