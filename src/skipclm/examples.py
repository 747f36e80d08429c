"""Prompts and batches: the one place that says how a pair becomes tokens.

An example reads `<begin> source </s> target </s>`; a prompt is its part up to the first `</s>`. `<begin>` is what the
tokenizer puts before a text (XGLM's is `</s>`, Llama's `<s>`), or `</s>` if it puts nothing there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedTokenizerBase

from skipclm import provenance
from skipclm.errors import InputError

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
        begin = ids[: len(ids) - len(plain)] if ids[len(ids) - len(plain) :] == plain else []
        pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        return cls(tuple(begin) or (end,), end, pad)

    def source(self, ids: list[int]) -> list[int]:
        """Return the tokens of a prompt for a source sentence."""
        return [*self.begin, *ids, self.end]

    def alone(self, ids: list[int]) -> list[int]:
        """Return the tokens of a sentence by itself, in the place that a source has in a prompt."""
        return [*self.begin, *ids]

    def target(self, ids: list[int]) -> list[int]:
        """Return the tokens that should follow the prompt."""
        return [*ids, self.end]


def encode(tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> list[list[int]]:
    """Encode sentences without special tokens; what reads like one in the text, `<s>` say, is text."""
    return tokenizer(sentences, add_special_tokens=False, split_special_tokens=True)["input_ids"]


class Examples(Dataset):
    """Encoded sentence pairs.

    An item holds `source` and `target`, lists of token ids without special tokens, and `source_key` and `target_key`,
    numbers that are equal where sentences are.
    """

    FIELDS = ("source", "target")

    def __init__(self, source: list[list[int]], target: list[list[int]], keys: np.ndarray) -> None:
        self.source, self.target, self.keys = source, target, keys

    @classmethod
    def encoded(cls, tokenizer: PreTrainedTokenizerBase, source: list[str], target: list[str]) -> "Examples":
        """Encode sentence pairs, lists of one length."""
        keys = [np.unique(side, return_inverse=True)[1] for side in (source, target)]
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
        with provenance.new_file(path) as temporary:
            save_file(arrays, temporary)

    def within(self, max_tokens: int) -> "Examples":
        """Return the pairs of at most `max_tokens` tokens, source and target together."""
        kept = [i for i in range(len(self)) if len(self.source[i]) + len(self.target[i]) <= max_tokens]
        return Examples([self.source[i] for i in kept], [self.target[i] for i in kept], self.keys[kept])

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


class LengthGroupedSampler(Sampler[int]):
    """Batches of similar length, which need little padding, in an order that the seed decides.

    Transformers' own sampler leaves long batches before short ones, so that the loss goes up and down with them.
    """

    POOL = 50  # batches that are sorted together: enough for little padding ...
    POOLS = 8  # ... and few enough of them that a small corpus is mixed anew in each epoch

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths = torch.tensor(lengths)
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self), generator=self.generator)
        whole = len(self) // self.batch_size
        pool_size = self.batch_size * min(self.POOL, max(1, whole // self.POOLS))
        pools = order[: whole * self.batch_size].split(pool_size)
        sorted_pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in pools]
        batches = [batch for pool in sorted_pools for batch in pool.split(self.batch_size)]
        for i in torch.randperm(whole, generator=self.generator).tolist():
            yield from batches[i].tolist()
        yield from order[whole * self.batch_size :].tolist()  # less than a batch


@dataclass(frozen=True)
class Collator:
    """Turn items into one batch, padded on the right.

    `input_ids`, `attention_mask` and `labels` (pairs, tokens) hold the examples, `target_ids` and `target_attention`
    the targets alone. `source_mask` and `target_mask` mark the sentences' own tokens; the first ends with the longest
    source. `source_key` and `target_key` (pairs,) tell equal sentences.
    """

    prompt: Prompt

    def __call__(self, items: list[dict]) -> dict[str, Tensor]:
        """Collate items of `Examples`."""
        prompts = [self.prompt.source(item["source"]) for item in items]
        targets = [self.prompt.target(item["target"]) for item in items]
        alone = [self.prompt.alone(item["target"]) for item in items]
        pairs = list(zip(prompts, targets, strict=True))
        begin = len(self.prompt.begin)
        return {
            "input_ids": pad([p + t for p, t in pairs], self.prompt.pad),
            "attention_mask": pad([[1] * len(p + t) for p, t in pairs], 0),
            "labels": pad([[IGNORED] * len(p) + t for p, t in pairs], IGNORED),
            "source_mask": pad([[0] * begin + [1] * len(item["source"]) for item in items], 0),
            "target_ids": pad(alone, self.prompt.pad),
            "target_attention": pad([[1] * len(ids) for ids in alone], 0),
            "target_mask": pad([[0] * begin + [1] * (len(ids) - begin) for ids in alone], 0),
            "source_key": torch.tensor([item["source_key"] for item in items]),
            "target_key": torch.tensor([item["target_key"] for item in items]),
        }


def pad(rows: list[list[int]], value: int, left: bool = False) -> Tensor:
    """Return rows of unequal length as one tensor (rows, longest), filled up with `value`."""
    longest = max(map(len, rows))
    filled = [[value] * (longest - len(row)) + row if left else row + [value] * (longest - len(row)) for row in rows]
    return torch.tensor(filled)
