"""Run COMET or XCOMET, a command in an environment of its own, as a job like others: with a log and a leased GPU."""

import argparse
import subprocess

from skipclm import devices, jobs

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--log", required=True)
parser.add_argument("--gpu", type=int, required=True, help="devices to lease, where there are any")
parser.add_argument("--jobs-per-gpu", type=int, required=True)
parser.add_argument("command", nargs="+")
options = parser.parse_args()

with jobs.job(options.log), devices.lease(options.gpu, options.jobs_per_gpu):
    # The lease is the command's as well, as long as it lives.
    status = subprocess.run(options.command, close_fds=False).returncode
    if status:
        raise RuntimeError(f"{options.command[0]} ended with status {status}")
