"""Sentence pairs as tokens. This module needs no torch, so that jobs that only encode text start faster.

An example is `<begin> source </s> target </s>`. The prompt ends with the first `</s>`. `<begin>` is the token that the
tokenizer puts before a text (`</s>` for XGLM, `<s>` for Llama), or `</s>` if it puts none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerBase

from skipclm.errors import InputError
from skipclm.runtime import atomic
from skipclm.text import key, tidy


@dataclass(frozen=True)
class Prompt:
    """The special tokens around source and target."""

    begin: tuple[int, ...]
    end: int
    pad: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Prompt":
        """Return the prompt of a tokenizer; raises an `InputError` if it has no end-of-sequence token."""
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
        """Return the tokens of `<begin> sentence </s>`, the prompt of a source sentence."""
        return [*self.begin, *ids, self.end]

    def max_new_tokens(self, ids: list[int], context: int | None, length_ratio: float, length_extra: int) -> int:
        """Return the maximum number of tokens of a translation, with `</s>`; 0 or less if the source is too long.

        This is `length_ratio` times the source tokens plus `length_extra`, limited by the model's `context`.
        """
        limit = int(length_ratio * len(ids)) + length_extra
        return limit if context is None else min(limit, context - len(self.source(ids)))

    def target(self, ids: list[int]) -> list[int]:
        """Return the tokens of a target sentence, which follow the prompt."""
        return [*ids, self.end]


def encode(tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> list[list[int]]:
    """Encode sentences without special tokens; a string such as `<s>` in a sentence is ordinary text."""
    return tokenizer(sentences, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def decode(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    """Decode token ids to lines of text, without special tokens; `tidy` normalizes the text like the corpus.

    Spaces before punctuation and around apostrophes are kept, even if the tokenizer sets
    `clean_up_tokenization_spaces`. Tokenizers saved by transformers 4 often set it.
    """
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    return [tidy(tokenizer.decode(ids, **options)) for ids in rows]


class Examples:
    """Encoded sentence pairs.

    An item holds `source` and `target`, lists of token ids without special tokens, and `source_key` and `target_key`.
    These numbers are equal if two sentences look the same (see `text.key`).
    """

    FIELDS = ("source", "target")

    def __init__(self, source: list[list[int]], target: list[list[int]], keys: np.ndarray) -> None:
        self.source, self.target, self.keys = source, target, keys

    @classmethod
    def encoded(cls, tokenizer: PreTrainedTokenizerBase, source: list[str], target: list[str]) -> "Examples":
        """Encode sentence pairs; both lists have the same length."""
        keys = [np.unique([key(text) for text in side], return_inverse=True)[1] for side in (source, target)]
        return cls(encode(tokenizer, source), encode(tokenizer, target), np.stack(keys, axis=1))

    @classmethod
    def load(cls, path: str | Path) -> "Examples":
        """Read a file that `save` wrote."""
        arrays = load_file(path)
        sides = [np.split(arrays[side], arrays[f"{side}_ends"][:-1]) for side in cls.FIELDS]
        return cls(*[[ids.tolist() for ids in side] for side in sides], arrays["keys"])

    def save(self, path: str | Path) -> None:
        """Write the pairs as one safetensors file: for each side, the concatenated ids and where each sentence ends."""
        arrays = {"keys": self.keys.astype(np.int32)}
        for side in self.FIELDS:
            sentences = getattr(self, side)
            arrays[side] = np.array([token for ids in sentences for token in ids], dtype=np.int32)
            arrays[f"{side}_ends"] = np.cumsum([len(ids) for ids in sentences])
        with atomic.new_file(path) as temporary:
            save_file(arrays, temporary)

    def within(self, max_tokens: int) -> "Examples":
        """Return the pairs with at most `max_tokens` tokens, source and target together."""
        return self.select([i for i, length in enumerate(self.lengths()) if length <= max_tokens])

    def usable(self, max_tokens: int, minimum: int, split: str) -> "Examples":
        """Return the pairs within `max_tokens`; raises an `InputError` if there are fewer than `minimum`."""
        usable = self.within(max_tokens)
        if len(usable) < minimum:
            is_train = split == "train"
            required = f"a batch of {minimum} pairs" if is_train else f"{minimum} pair of {split}"
            remedy = "lower training.batch_size" if is_train else "set training.validations to 0"
            raise InputError(
                f"training.max_tokens: expected at least {required} within {max_tokens} tokens, found {len(usable)} of "
                f"{len(self)}; raise it, {remedy} or give more text"
            )
        return usable

    def by_length(self) -> "Examples":
        """Return the pairs sorted by length, shortest first. Batches in this order need little padding."""
        lengths = self.lengths()
        return self.select(sorted(range(len(self)), key=lengths.__getitem__))

    def select(self, indices: list[int]) -> "Examples":
        """Return the pairs with these indices, in this order."""
        return Examples([self.source[i] for i in indices], [self.target[i] for i in indices], self.keys[indices])

    def lengths(self) -> list[int]:
        """Return the number of tokens of each pair, source and target together."""
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
