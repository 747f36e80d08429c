"""Run COMET or XCOMET as a command in a separate environment, with a log and a leased GPU like other jobs.

If it crashes repeatedly, the score file contains the reason, and the workflow continues.
"""

import argparse
import subprocess

from skipclm.runtime import atomic, devices, invocation, jobs

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--log", required=True)
parser.add_argument("--gpu", type=int, required=True, help="number of GPUs to lease; 0 without GPUs")
parser.add_argument("--output", required=True, help="score file to write")
parser.add_argument("command", nargs="+")
options = parser.parse_args()
execution = invocation.read()["config"]["execution"]

with (
    jobs.job(options.log),
    jobs.limited_attempts(f"{options.output}.attempt", execution["attempts"]) as failure,
    devices.lease(options.gpu, execution["jobs_per_gpu"]),
):
    if failure:
        print(f"given up: {failure}")
        atomic.write_json(options.output, {"not_run": failure.partition("\n")[0]})
    # The command inherits the lease and holds it until it ends.
    elif status := subprocess.run([*options.command, "--output", options.output], close_fds=False).returncode:
        raise RuntimeError(f"{options.command[0]} ended with status {status}")
