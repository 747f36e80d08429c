"""Time the arms in alternating rounds: each arm has its own process and trains one round at a time."""

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

    def __init__(self, connection: Connection, length: int) -> None:
        self.connection, self.length = connection, length

    def steps(self, rounds: int) -> int:
        """Return the number of steps of `rounds` rounds and the warm-up."""
        return self.WARMUP + rounds * self.length

    def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        """Wait if a round begins."""
        if state.global_step == 0 or (state.global_step - self.WARMUP) % self.length == 0:
            self.connection.recv()
            self.since = time.perf_counter()

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        """Send the seconds if a round ends."""
        if (state.global_step - self.WARMUP) % self.length == 0:
            self.connection.send(time.perf_counter() - self.since)


def resident() -> float:
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _work(arm: str, inputs: tuple, threads: int, rounds: int, connection: Connection) -> None:
    from arms import ARMS

    torch.set_num_threads(threads)
    before = resident()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        ARMS[arm](*inputs, rounds, connection)
    connection.send((before, resident()))


def alternate(arms: list[str], inputs: tuple, rounds: int) -> tuple[dict, dict]:
    """Return for each arm the seconds of its rounds, and its memory in MiB at the start and at the peak."""
    context = multiprocessing.get_context("spawn")
    connections, processes = {}, []
    for arm in arms:
        connections[arm], theirs = context.Pipe()
        work = (arm, inputs, len(os.sched_getaffinity(0)), rounds, theirs)
        processes.append(context.Process(target=_work, args=work, daemon=True))
        processes[-1].start()
        theirs.close()
    seconds = {arm: [] for arm in arms}
    for number in range(rounds + 1):
        for arm, connection in connections.items():
            connection.send("go")
            taken = connection.recv()
            if number:  # round 0 is the warm-up
                seconds[arm].append(taken)
                print(f"round {number}/{rounds}  {arm:14} {taken:6.1f} s", flush=True)
    memory = {arm: connection.recv() for arm, connection in connections.items()}
    for process in processes:
        process.join()
    return seconds, memory
