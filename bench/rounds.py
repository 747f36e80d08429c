"""Time the arms in alternating rounds; each arm has its own process."""

import multiprocessing
import os
import resource
import time
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection

import torch
from transformers import TrainerCallback


class Turns(TrainerCallback):
    """Wait for a message before each round of `length` steps, and send the seconds of the round after it.

    The first `WARMUP` steps are a separate round.
    """

    WARMUP = 2

    def __init__(self, line: Connection, length: int) -> None:
        self.line, self.length = line, length

    def steps(self, rounds: int) -> int:
        """Return the number of steps for this many rounds with the warm-up."""
        return self.WARMUP + rounds * self.length

    def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        """Wait if a round begins."""
        if state.global_step == 0 or (state.global_step - self.WARMUP) % self.length == 0:
            self.line.recv()
            self.started = time.perf_counter()

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        """Send the seconds if a round ends."""
        if (state.global_step - self.WARMUP) % self.length == 0:
            self.line.send(time.perf_counter() - self.started)


def resident() -> float:
    """Return the peak of resident memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _work(arm: str, inputs: tuple, threads: int, rounds: int, line: Connection) -> None:
    from arms import ARMS

    torch.set_num_threads(threads)
    before = resident()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        ARMS[arm](*inputs, rounds, line)
    line.send((before, resident()))


def alternate(arms: list[str], inputs: tuple, rounds: int) -> tuple[dict, dict]:
    """Return the seconds of each round and the memory in MiB at the start and at its peak, both by arm."""
    context = multiprocessing.get_context("spawn")
    lines, processes = {}, []
    for arm in arms:
        lines[arm], remote = context.Pipe()
        work = (arm, inputs, len(os.sched_getaffinity(0)), rounds, remote)
        processes.append(context.Process(target=_work, args=work, daemon=True))
        processes[-1].start()
        remote.close()
    seconds = {arm: [] for arm in arms}
    for number in range(rounds + 1):
        for arm, line in lines.items():
            line.send("go")
            round_seconds = line.recv()
            if number:  # round 0 is the warm-up
                seconds[arm].append(round_seconds)
                print(f"round {number}/{rounds}  {arm:14} {round_seconds:6.1f} s", flush=True)
    memory = {arm: line.recv() for arm, line in lines.items()}
    for process in processes:
        process.join()
    return seconds, memory
