"""What it costs threads to wait for each other, on an idle machine and on a busy one.

python bench/threads.py    # prints a table; takes some minutes

A small matrix product with two threads is repeated in a process of its own, alone or beside as many busy processes as
there are cores. The ways of waiting take turns, and the median over all rounds is shown, so that what else the machine
does falls on all of them.
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
# The size of a feed-forward layer of the default model, over one batch.
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
    """Return how often a second the work is done in a process with these environment variables."""
    unset = {name for setting in SETTINGS.values() for name in setting}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"OMP_NUM_THREADS": str(THREADS)} | variables
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def rates(busy: int) -> dict[str, float]:
    """Return the median rate of each setting beside so many busy processes."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        found = [{name: rate(variables) for name, variables in SETTINGS.items()} for _ in range(ROUNDS)]
    finally:
        for other in others:
            other.kill()
            other.wait()
    return {name: statistics.median(each[name] for each in found) for name in SETTINGS}


def main() -> None:
    """Print the rates per second, and what they are of the default's."""
    cores = len(os.sched_getaffinity(0))
    alone, beside = rates(0), rates(cores)
    print(f"| waiting | alone | | beside {cores} busy processes | |\n|---|---|---|---|---|")
    for name in SETTINGS:
        cells = [f"{each[name]:.0f}/s | {each[name] / each['default']:.2f}" for each in (alone, beside)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
