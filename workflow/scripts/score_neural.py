"""Run COMET or XCOMET, a command in an environment of its own, as a job like others: with a log and a leased GPU.

If it dies time and again, its scores say so, and the rest goes on.
"""

import argparse
import subprocess

from skipclm.runtime import atomic, devices, invocation, jobs

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--log", required=True)
parser.add_argument("--gpu", type=int, required=True, help="devices to lease, where there are any")
parser.add_argument("--output", required=True, help="file of the scores")
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
    # The lease is the command's as well, as long as it lives.
    elif status := subprocess.run([*options.command, "--output", options.output], close_fds=False).returncode:
        raise RuntimeError(f"{options.command[0]} ended with status {status}")
