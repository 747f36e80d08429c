"""Prompts and batches: the one place that says how a pair becomes tokens.

An example reads `<begin> source </s> target </s>`; a prompt is its part up to the first `</s>`. `<begin>` is what the
tokenizer puts before a text (XGLM's is `</s>`, Llama's `<s>`), or `</s>` if it puts nothing there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedTokenizerBase

from skipclm.errors import InputError
from skipclm.runtime import atomic
from skipclm.text import key, tidy

IGNORED = -100  # the label of tokens that carry no loss


@dataclass(frozen=True)
class Prompt:
    """The special tokens around source and target."""

    begin: tuple[int, ...]
    end: int
    pad: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Prompt":
        """Read the special tokens off a tokenizer; raises an `InputError` if it has no end-of-sequence token."""
        end = tokenizer.eos_token_id
        if end is None:
            raise InputError("tokenizer: expected an end-of-sequence token, found none; set eos_token")
        ids = tokenizer("a")["input_ids"]
        plain = tokenizer("a", add_special_tokens=False)["input_ids"]
        starts = [start for start in range(len(ids)) if ids[start : start + len(plain)] == plain]
        begin = ids[: starts[0]] if starts else []
        pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        return cls(tuple(begin) or (end,), end, pad)

    def source(self, ids: list[int]) -> list[int]:
        """Return the tokens of a prompt for a source sentence; of any sentence, in the place that a source has."""
        return [*self.begin, *ids, self.end]

    def room(self, ids: list[int], context: int | None, length_ratio: float, length_extra: int) -> int:
        """Return how many tokens a translation of a source may have, with its end; at most 0 if the source is too long.

        That is `length_ratio` for each source token and `length_extra` more, as far as the model's `context` reaches.
        """
        limit = int(length_ratio * len(ids)) + length_extra
        return limit if context is None else min(limit, context - len(self.source(ids)))

    def target(self, ids: list[int]) -> list[int]:
        """Return the tokens that should follow the prompt."""
        return [*ids, self.end]


def encode(tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> list[list[int]]:
    """Encode sentences without special tokens; what reads like one in the text, `<s>` say, is text."""
    return tokenizer(sentences, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def decode(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    """Decode token ids to lines of text in the form of the corpus, without special tokens.

    Spaces stay as the tokens have them. Tokenizers saved by transformers 4 often ask for
    `clean_up_tokenization_spaces`, which deletes spaces before punctuation and around apostrophes.
    """
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    return [tidy(tokenizer.decode(ids, **options)) for ids in rows]


class Examples(Dataset):
    """Encoded sentence pairs.

    An item holds `source` and `target`, lists of token ids without special tokens, and `source_key` and `target_key`,
    numbers that are equal where sentences look the same (see `text.key`).
    """

    FIELDS = ("source", "target")

    def __init__(self, source: list[list[int]], target: list[list[int]], keys: np.ndarray) -> None:
        self.source, self.target, self.keys = source, target, keys

    @classmethod
    def encoded(cls, tokenizer: PreTrainedTokenizerBase, source: list[str], target: list[str]) -> "Examples":
        """Encode sentence pairs, lists of one length."""
        keys = [np.unique([key(text) for text in side], return_inverse=True)[1] for side in (source, target)]
        return cls(encode(tokenizer, source), encode(tokenizer, target), np.stack(keys, axis=1))

    @classmethod
    def load(cls, path: str | Path) -> "Examples":
        """Read what `save` wrote."""
        arrays = load_file(path)
        sides = [np.split(arrays[side], arrays[f"{side}_ends"][:-1]) for side in cls.FIELDS]
        return cls(*[[ids.tolist() for ids in side] for side in sides], arrays["keys"])

    def save(self, path: str | Path) -> None:
        """Write the pairs as one safetensors file: ids end to end, and where each sentence ends."""
        arrays = {"keys": self.keys.astype(np.int32)}
        for side in self.FIELDS:
            sentences = getattr(self, side)
            arrays[side] = np.array([token for ids in sentences for token in ids], dtype=np.int32)
            arrays[f"{side}_ends"] = np.cumsum([len(ids) for ids in sentences])
        with atomic.new_file(path) as temporary:
            save_file(arrays, temporary)

    def within(self, max_tokens: int) -> "Examples":
        """Return the pairs of at most `max_tokens` tokens, source and target together."""
        return self.chosen([i for i, length in enumerate(self.lengths()) if length <= max_tokens])

    def usable(self, max_tokens: int, fewest: int, split: str) -> "Examples":
        """Return the pairs within `max_tokens`; raise an `InputError` if they are less than `fewest`."""
        usable = self.within(max_tokens)
        if len(usable) < fewest:
            is_train = split == "train"
            wanted = f"a batch of {fewest} pairs" if is_train else f"{fewest} pair of {split}"
            remedy = "lower training.batch_size" if is_train else "set training.validations to 0"
            raise InputError(
                f"training.max_tokens: expected at least {wanted} within {max_tokens} tokens, found {len(usable)} of "
                f"{len(self)}; raise it, {remedy} or give more text"
            )
        return usable

    def by_length(self) -> "Examples":
        """Return the pairs with the shortest first, so that batches in this order need little padding."""
        lengths = self.lengths()
        return self.chosen(sorted(range(len(self)), key=lengths.__getitem__))

    def chosen(self, indices: list[int]) -> "Examples":
        """Return the pairs of these numbers, in this order."""
        return Examples([self.source[i] for i in indices], [self.target[i] for i in indices], self.keys[indices])

    def lengths(self) -> list[int]:
        """Return the tokens of each pair, source and target together."""
        return [len(source) + len(target) for source, target in zip(self.source, self.target, strict=True)]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        source_key, target_key = (int(key) for key in self.keys[index])
        return {
            "source": self.source[index],
            "target": self.target[index],
            "source_key": source_key,
            "target_key": target_key,
        }


class LengthGroupedBatches(Sampler[list[int]]):
    """As many batches as asked for, of similar length, which need little padding, in an order that the seed decides.

    A batch has at most `batch_size` pairs and, if `batch_tokens` is given, at most so many tokens with padding, or one
    pair. With several processes, each gets every n-th pair of a batch, at least one: a batch has as many of them,
    whatever their length, and what is left over joins another. Transformers' own sampler leaves long batches before
    short ones, so that the loss goes up and down with them.
    """

    POOL = 50  # batches that are sorted together: enough for little padding ...
    POOLS = 8  # ... and few enough of them that a small corpus is mixed anew in each pass

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
        generator, left = torch.Generator().manual_seed(self.seed), self.steps
        while left:
            batches = self._one_pass(generator)[:left]
            left -= len(batches)
            for batch in batches:
                yield batch[self.process :: self.processes]

    def _one_pass(self, generator: torch.Generator) -> list[list[int]]:
        """Return all pairs, in batches."""
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        pool_size = self.batch_size * min(self.POOL, max(1, len(order) // self.batch_size // self.POOLS))
        pools = [order[start : start + pool_size] for start in range(0, len(order), pool_size)]
        batches: list[list[int]] = []
        for pool in pools:
            for batch in batches_within(sorted(pool, key=self.lengths.__getitem__), self._fits):
                if len(batch) >= self.processes:
                    batches.append(batch)
                else:
                    batches[-1] += batch
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _fits(self, batch: list[int]) -> bool:
        padded = len(batch) * self.lengths[batch[-1]]  # the longest, since they are sorted
        is_short = self.batch_tokens is None or padded <= self.batch_tokens or len(batch) <= self.processes
        return len(batch) <= self.batch_size and is_short


def batches_within(order: list[int], fits: Callable[[list[int]], bool]) -> list[list[int]]:
    """Cut items, in their order, into batches as large as `fits` allows; an item that does not fit alone is alone."""
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

    `input_ids` and `labels` (pairs, tokens) hold the examples, `target_ids` the targets alone. `source_weights` and
    `target_weights` (pairs, tokens) say how much each state counts in the vector of its sentence, by `pooling`; the
    first ends with the longest source. `source_key` and `target_key` (pairs,) tell equal sentences; `length` (pairs,)
    counts the tokens of each example.

    There is no attention mask: in a causal model, no token sees the padding on its right.
    """

    prompt: Prompt
    pooling: str = "mean"

    def __call__(self, items: list[dict]) -> dict[str, Tensor]:
        """Collate items of `Examples`."""
        prompts = [self.prompt.source(item["source"]) for item in items]
        targets = [self.prompt.target(item["target"]) for item in items]
        alone = [self.prompt.source(item["target"]) for item in items]
        pairs = list(zip(prompts, targets, strict=True))
        return {
            "input_ids": pad([p + t for p, t in pairs], self.prompt.pad),
            "labels": pad([[IGNORED] * len(p) + t for p, t in pairs], IGNORED),
            "source_weights": pad([self._weights(ids) for ids in prompts], 0.0),
            "target_ids": pad(alone, self.prompt.pad),
            "target_weights": pad([self._weights(ids) for ids in alone], 0.0),
            "source_key": torch.tensor([item["source_key"] for item in items]),
            "target_key": torch.tensor([item["target_key"] for item in items]),
            "length": torch.tensor([len(p + t) for p, t in pairs]),
        }

    def _weights(self, ids: list[int]) -> list[float]:
        """Return the weight of each token of `<begin> sentence </s>`."""
        begin = len(self.prompt.begin)
        words = len(ids) - begin - 1
        numbers = {  # of the sentence's own tokens, and of </s>
            "mean": [1] * words + [0],
            "last": [0] * (words - 1) + [1] * (words > 0) + [0],
            "end": [0] * words + [1],
            "position": [*range(1, words + 1), 0],
        }[self.pooling]
        return [0.0] * begin + [number / max(1, sum(numbers)) for number in numbers]


def pad(rows: list[list[float]], value: float, left: bool = False) -> Tensor:
    """Return rows of unequal length as one tensor (rows, longest), filled up with `value`."""
    longest = max(map(len, rows))
    filled = [[value] * (longest - len(row)) + row if left else row + [value] * (longest - len(row)) for row in rows]
    return torch.tensor(filled)
