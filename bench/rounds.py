"""Time the arms in alternation: each has a process of its own, and trains a round when it is its turn."""

import multiprocessing
import os
import resource
import time
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection

import torch
from transformers import TrainerCallback


class Turns(TrainerCallback):
    """Wait at the start of each round of `length` steps for the word to go on, and send the seconds that it took.

    The first `WARMUP` steps are a round of their own.
    """

    WARMUP = 2

    def __init__(self, line: Connection, length: int) -> None:
        self.line, self.length = line, length

    def steps(self, rounds: int) -> int:
        """Return the steps of so many rounds and the warm-up."""
        return self.WARMUP + rounds * self.length

    def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        """Wait, if a round begins."""
        if state.global_step == 0 or (state.global_step - self.WARMUP) % self.length == 0:
            self.line.recv()
            self.since = time.perf_counter()

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        """Send the seconds, if a round ends."""
        if (state.global_step - self.WARMUP) % self.length == 0:
            self.line.send(time.perf_counter() - self.since)


def resident() -> float:
    """Return the memory that this process has taken at its highest, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _work(arm: str, inputs: tuple, threads: int, rounds: int, line: Connection) -> None:
    from arms import ARMS

    torch.set_num_threads(threads)
    before = resident()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        ARMS[arm](*inputs, rounds, line)
    line.send((before, resident()))


def alternate(arms: list[str], inputs: tuple, rounds: int) -> tuple[dict, dict]:
    """Return by arm the seconds of each round, and the memory in MiB at the start and at its highest."""
    context = multiprocessing.get_context("spawn")
    lines, processes = {}, []
    for arm in arms:
        lines[arm], theirs = context.Pipe()
        work = (arm, inputs, len(os.sched_getaffinity(0)), rounds, theirs)
        processes.append(context.Process(target=_work, args=work, daemon=True))
        processes[-1].start()
        theirs.close()
    seconds = {arm: [] for arm in arms}
    for number in range(rounds + 1):
        for arm, line in lines.items():
            line.send("go")
            taken = line.recv()
            if number:  # not of the warm-up
                seconds[arm].append(taken)
                print(f"round {number}/{rounds}  {arm:14} {taken:6.1f} s", flush=True)
    memory = {arm: line.recv() for arm, line in lines.items()}
    for process in processes:
        process.join()
    return seconds, memory
