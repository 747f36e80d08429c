"""Means of what a model reports between two logged steps, over all processes, and the speed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from skipclm.training import losses


class RunningMeans:
    """Sums of scalar outputs since the last logged step.

    All sums stay on the device until they are read. `device` is that of the outputs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._logged_tokens = 0.0
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._batches = 0
        self._started = time.perf_counter()

    def add(self, outputs: dict[str, Tensor]) -> None:
        """Add the outputs of one batch: `tokens`, which are counted, and scalars, which are averaged.

        Each call creates new sums instead of changing the old ones, so that an earlier shallow copy of this object
        keeps its values.
        """
        self._sums = {name: self._sums.get(name, 0) + value.detach() for name, value in outputs.items()}
        self._batches += 1

    def pop(self) -> tuple[dict[str, float], float]:
        """Return the means and the tokens per second since the last call, and start again."""
        totals = {name: losses.gathered(total[None]) for name, total in self._sums.items()}
        tokens = float(totals.pop("tokens").sum())
        means = {name: float(values.mean()) / self._batches for name, values in totals.items()}
        tokens_per_second = tokens / (time.perf_counter() - self._started)
        self._logged_tokens += tokens
        self._reset()
        return means, tokens_per_second

    def total_tokens(self) -> float:
        """Return the number of tokens since the beginning of the training."""
        tokens = torch.as_tensor(self._sums.get("tokens", 0), device=self._device)
        return self._logged_tokens + float(losses.gathered(tokens[None]).sum())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block from the speed."""
        begin = time.perf_counter()
        yield
        self._started += time.perf_counter() - begin

    def state_dict(self) -> dict:
        """Return the state of this process, for `load_state_dict`."""
        seconds = time.perf_counter() - self._started
        return {"sums": self._sums, "batches": self._batches, "tokens": self._logged_tokens, "seconds": seconds}

    def load_state_dict(self, state: dict) -> None:
        """Continue from a saved state; the time between saving and loading is not included in the speed."""
        self._sums, self._batches = state["sums"], state["batches"]
        self._logged_tokens = state["tokens"]
        self._started = time.perf_counter() - state["seconds"]
