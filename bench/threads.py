"""Measure the cost of threads that wait for each other, on an idle machine and on a busy one.

python bench/threads.py    # prints a table; takes some minutes

A separate process repeats a small matrix product with two threads, without other processes or next to one busy process
per core. The settings take turns, so that other load on the machine affects all of them. The result is the median over
all rounds.
"""

import os
import statistics
import subprocess
import sys

SETTINGS = {
    "default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "KMP_BLOCKTIME=0": {"KMP_BLOCKTIME": "0"},
}
ROUNDS = 3
SECONDS = 2
THREADS = 2
# The matrices have the size of a feed-forward layer of the default model with one batch.
WORK = f"""
import time, torch
torch.set_num_threads({THREADS})
left, right = torch.randn(512, 64), torch.randn(64, 256)
for _ in range(20):
    left @ right
count, end = 0, time.monotonic() + {SECONDS}
while time.monotonic() < end:
    torch.relu(left @ right).sum()
    count += 1
print(count / {SECONDS})
"""
BUSY = "while True: pass"


def rate(variables: dict[str, str]) -> float:
    """Return how often per second a process with these environment variables does the work."""
    unset = {name for setting in SETTINGS.values() for name in setting}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"OMP_NUM_THREADS": str(THREADS)} | variables
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def rates(busy: int) -> dict[str, float]:
    """Return the median rate of each setting next to `busy` busy processes."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        rounds = [{name: rate(variables) for name, variables in SETTINGS.items()} for _ in range(ROUNDS)]
    finally:
        for other in others:
            other.kill()
            other.wait()
    return {name: statistics.median(measured[name] for measured in rounds) for name in SETTINGS}


def main() -> None:
    """Print the rates per second, and the ratios to the default."""
    cores = len(os.sched_getaffinity(0))
    idle, busy = rates(0), rates(cores)
    print(f"| waiting | alone | | beside {cores} busy processes | |\n|---|---|---|---|---|")
    for name in SETTINGS:
        cells = [f"{measured[name]:.0f}/s | {measured[name] / measured['default']:.2f}" for measured in (idle, busy)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
