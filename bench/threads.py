"""Measure the cost of threads that wait for each other, on an idle and on a busy machine.

python bench/threads.py    # prints a table; takes some minutes

A process repeats a small matrix product with two threads, first on an idle machine and then beside one busy process per
core. The settings alternate in rounds, so that other load affects all of them, and the table shows medians over rounds.
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
# The matrix product has the size of a feed-forward layer of the default model.
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
    """Return the repetitions per second in a process with these environment variables."""
    unset = {name for setting in SETTINGS.values() for name in setting}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"OMP_NUM_THREADS": str(THREADS)} | variables
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def rates(busy: int) -> dict[str, float]:
    """Return the median rate of each setting beside this number of busy processes."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        rounds = [{name: rate(variables) for name, variables in SETTINGS.items()} for _ in range(ROUNDS)]
    finally:
        for other in others:
            other.kill()
            other.wait()
    return {name: statistics.median(row[name] for row in rounds) for name in SETTINGS}


def main() -> None:
    """Print the rates per second, and their ratios to the default."""
    cores = len(os.sched_getaffinity(0))
    idle, loaded = rates(0), rates(cores)
    print(f"| setting | idle machine | | beside {cores} busy processes | |\n|---|---|---|---|---|")
    for name in SETTINGS:
        cells = [f"{table[name]:.0f}/s | {table[name] / table['default']:.2f}" for table in (idle, loaded)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
