"""Batches of sentence pairs: their order in training, and padding."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Sampler

from skipclm.data.examples import Prompt

IGNORED = -100  # the label of tokens that the loss ignores


class LengthGroupedBatches(Sampler[list[int]]):
    """Yield `steps` batches of pairs of similar length, in a random order that the seed fixes.

    A batch has at most `batch_size` pairs. If `batch_tokens` is given, it has at most that many tokens with padding; a
    longer pair forms a batch of its own. With n processes, each process gets every n-th pair of a batch. So that each
    process gets at least one pair, a batch has at least n pairs, even if it then has more than `batch_tokens` tokens.
    If fewer than n pairs remain at the end of a pool, they are added to the previous batch. The batches are shuffled,
    unlike those of the sampler of transformers, where long batches precede short ones and the loss rises and falls with
    the length.
    """

    POOL = 50  # at most this many batches are sorted by length together: enough for little padding
    # A small corpus has about this many pools, which are smaller, so that each pass combines the pairs differently.
    POOLS = 8

    def __init__(
        self,
        lengths: list[int],
        batch_size: int,
        steps: int,
        seed: int,
        batch_tokens: int | None = None,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.lengths = lengths
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.steps, self.seed = steps, seed
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        generator, remaining = torch.Generator().manual_seed(self.seed), self.steps
        while remaining:
            batches = self._one_pass(generator)[:remaining]
            remaining -= len(batches)
            for batch in batches:
                yield batch[self.process :: self.processes]

    def _one_pass(self, generator: torch.Generator) -> list[list[int]]:
        """Return the batches of one pass over all pairs."""
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        pool_size = self.batch_size * min(self.POOL, max(1, len(order) // self.batch_size // self.POOLS))
        pools = [order[start : start + pool_size] for start in range(0, len(order), pool_size)]
        batches: list[list[int]] = []
        for pool in pools:
            for batch in split_into_batches(sorted(pool, key=self.lengths.__getitem__), self._fits):
                if len(batch) >= self.processes:
                    batches.append(batch)
                else:
                    batches[-1] += batch
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _fits(self, batch: list[int]) -> bool:
        padded = len(batch) * self.lengths[batch[-1]]  # the last is the longest
        is_short = self.batch_tokens is None or padded <= self.batch_tokens or len(batch) <= self.processes
        return len(batch) <= self.batch_size and is_short


def split_into_batches(order: list[int], fits: Callable[[list[int]], bool]) -> list[list[int]]:
    """Split items, in order, into the largest batches that `fits` allows.

    An item that does not fit even in an empty batch gets a batch of its own.
    """
    batches: list[list[int]] = []
    for item in order:
        if batches and fits([*batches[-1], item]):
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


@dataclass(frozen=True)
class Collator:
    """Turn items into one batch, padded on the right.

    `input_ids` and `labels` (pairs, tokens) hold the examples; `target_ids` holds only the targets. `source_weights`
    and `target_weights` (pairs, tokens) are the weights of the token states in the sentence vector, by `pooling`;
    `source_weights` is as wide as the longest prompt. `source_key` and `target_key` (pairs,) are equal for equal
    sentences. `length` (pairs,) is the number of tokens of each example.

    There is no attention mask: in a causal model, no token attends to the padding on its right.
    """

    prompt: Prompt
    pooling: str = "mean"

    def __call__(self, items: list[dict]) -> dict[str, Tensor]:
        """Collate items of `Examples`."""
        prompts = [self.prompt.source(item["source"]) for item in items]
        targets = [self.prompt.target(item["target"]) for item in items]
        target_prompts = [self.prompt.source(item["target"]) for item in items]
        pairs = list(zip(prompts, targets, strict=True))
        return {
            "input_ids": pad([p + t for p, t in pairs], self.prompt.pad),
            "labels": pad([[IGNORED] * len(p) + t for p, t in pairs], IGNORED),
            "source_weights": pad([self._weights(ids) for ids in prompts], 0.0),
            "target_ids": pad(target_prompts, self.prompt.pad),
            "target_weights": pad([self._weights(ids) for ids in target_prompts], 0.0),
            "source_key": torch.tensor([item["source_key"] for item in items]),
            "target_key": torch.tensor([item["target_key"] for item in items]),
            "length": torch.tensor([len(p + t) for p, t in pairs]),
        }

    def _weights(self, ids: list[int]) -> list[float]:
        """Return the weight of each token of `<begin> sentence </s>`."""
        begin = len(self.prompt.begin)
        length = len(ids) - begin - 1
        weights = {  # of the tokens of the sentence, and of </s>
            "mean": [1] * length + [0],
            "last": [0] * (length - 1) + [1] * (length > 0) + [0],
            "end": [0] * length + [1],
            "position": [*range(1, length + 1), 0],
        }[self.pooling]
        return [0.0] * begin + [weight / max(1, sum(weights)) for weight in weights]


def pad(rows: list[list[float]], value: float, left: bool = False) -> Tensor:
    """Return rows of unequal length as one tensor (rows, longest), padded with `value`."""
    longest = max(map(len, rows))
    filled = [[value] * (longest - len(row)) + row if left else row + [value] * (longest - len(row)) for row in rows]
    return torch.tensor(filled)
