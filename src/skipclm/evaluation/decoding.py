"""Translate sentences with a trained decoder."""

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from skipclm.data.batching import pad, split_into_batches
from skipclm.data.examples import Prompt, decode
from skipclm.models import checkpoints, modeling
from skipclm.models.decoders import find_batching, fuse_attention, has_reorderable_cache, router_loss_omitted
from skipclm.runtime import memory


@dataclass(frozen=True)
class Translated:
    """Translations in the order of the sources, one line per source.

    `cut` marks the translations that reached the length limit. `too_long` marks the sources that leave no room for a
    translation in the model's context. Their translations are empty and count as cut.
    """

    texts: list[str]
    cut: list[bool]
    too_long: list[bool]


@torch.inference_mode()
def translate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: list[list[int]],
    *,
    beams: int = 1,
    batch_tokens: int = 16384,
    length_ratio: float = 2.0,
    length_extra: int = 10,
    progress: bool = True,
) -> Translated:
    """Translate sentences, given as token ids without special tokens.

    A translation has at most `length_ratio` times the source tokens plus `length_extra` tokens. Prompt and translation
    together fit in the model's context. A batch has at most `batch_tokens` tokens: the prompts and the longest possible
    translations, with padding, times the number of beams. If a batch does not fit in memory, its halves are translated
    one after the other. If batching changes the output of a model, its batches hold sentences of equal length or single
    sentences. With `progress`, a bar on standard error counts the batches.
    """
    prompt, context = Prompt.of(tokenizer), modeling.context(model)
    requests = []
    for ids in sources:
        limit = prompt.max_new_tokens(ids, context, length_ratio, length_extra)
        length = len(prompt.source(ids)) + prompt.max_new_tokens(ids, None, length_ratio, length_extra)
        requests.append(_Request(prompt.source(ids), limit, length))
    too_long = [context is not None and len(request.prompt) >= context for request in requests]
    translated = Translated([""] * len(sources), list(too_long), too_long)
    translatable = [i for i in range(len(sources)) if not too_long[i]]
    by_length = sorted(translatable, key=lambda i: requests[i].length, reverse=True)  # needs little padding
    with _neutral_generation(model, prompt):
        decoder = modeling.decoder_of(model)
        search = _Search(prompt, beams, has_reorderable_cache(decoder))
        batches = _make_batches(by_length, requests, find_batching(decoder), beams, batch_tokens, context)
        for batch in tqdm(batches, unit="batch", mininterval=2.0, disable=not progress):
            prompts, limits = [requests[i].prompt for i in batch], [requests[i].limit for i in batch]
            generated = _generate_in_memory(model, search, prompts, limits)
            for i, limit, ids in zip(batch, limits, generated, strict=True):
                translated.texts[i] = decode(tokenizer, [ids[:limit]])[0]
                translated.cut[i] = prompt.end not in ids[:limit]
    return translated


class _Request(NamedTuple):
    """A sentence to translate.

    `limit` is the maximum number of new tokens within the context. `length` is the number of tokens of the prompt and
    of the longest translation, even if they exceed the context.
    """

    prompt: list[int]
    limit: int
    length: int


def _make_batches(
    order: list[int], requests: list[_Request], batching: str, beams: int, batch_tokens: int, context: int | None
) -> list[list[int]]:
    """Split sentences, the longest first, into batches; `batching` is the result of `find_batching`."""

    def fits(batch: list[int]) -> bool:
        """Return whether these sentences may share a batch."""
        longest = requests[batch[0]].length
        if batching == "single" or (
            batching == "equal_length" and not _are_equal(len(requests[i].prompt) for i in batch)
        ):
            return False
        if beams > 1 and not _are_equal(requests[i].limit for i in batch):  # beam search has one limit per batch
            return False
        # A sentence that could exceed the context gets its own batch: it would reduce the limit of the others.
        return (context is None or longest <= context) and len(batch) * longest * beams <= batch_tokens

    return split_into_batches(order, fits)


@dataclass(frozen=True)
class _Search:
    """Generation settings. `can_reorder_cache`: the rows of the model's cache can be reordered."""

    prompt: Prompt
    beams: int
    can_reorder_cache: bool


def _are_equal(values: Iterable[int]) -> bool:
    return len(set(values)) == 1


@contextmanager
def _neutral_generation(model: PreTrainedModel, prompt: Prompt) -> Iterator[None]:
    """Disable dropout and ignore the checkpoint's generation settings, such as a repetition penalty."""
    decoder = modeling.decoder_of(model)
    fuse_attention(decoder)
    config, training = decoder.generation_config, model.training
    decoder.generation_config = checkpoints.greedy_generation(prompt)
    model.eval()
    try:
        with router_loss_omitted(decoder):
            yield
    finally:
        decoder.generation_config = config
        model.train(training)


def _generate_in_memory(
    model: PreTrainedModel, search: _Search, prompts: list[list[int]], limits: list[int]
) -> list[list[int]]:
    """Return the output of `_generate`. If it runs out of memory, generate for each half of the prompts in turn."""
    try:
        return _generate(model, search, prompts, limits)
    except RuntimeError as error:
        if not memory.is_out_of_memory(error) or len(prompts) == 1:
            raise
    memory.release()
    half = math.ceil(len(prompts) / 2)
    message = f"out of memory with {len(prompts)} sentences at a time: now {half}"
    print(message, file=sys.stderr)  # the command line writes translations to standard output
    halves = ((prompts[:half], limits[:half]), (prompts[half:], limits[half:]))
    return [ids for arguments in halves for ids in _generate_in_memory(model, search, *arguments)]


def _generate(model: PreTrainedModel, search: _Search, prompts: list[list[int]], limits: list[int]) -> list[list[int]]:
    """Return the tokens after each prompt, at least up to its limit or `</s>`. More tokens or padding may follow."""
    ids = pad(prompts, search.prompt.pad, left=True).to(model.device)
    mask = pad([[1] * len(row) for row in prompts], 0, left=True).to(model.device)
    if search.beams == 1:
        return _greedy(model, search, ids, mask, torch.tensor(limits, device=model.device))
    options = {"max_new_tokens": max(limits), "num_beams": search.beams, "do_sample": False}
    sequences = model.generate(input_ids=ids, attention_mask=mask, use_cache=search.can_reorder_cache, **options)
    return sequences[:, ids.shape[1] :].tolist()


def _greedy(model: PreTrainedModel, search: _Search, ids: Tensor, mask: Tensor, limits: Tensor) -> list[list[int]]:
    """Generate greedily. Each time half of the rows have finished, remove them from the batch.

    Without this, every row costs as much as the longest. `ids` and `mask` (rows, tokens) hold the prompts, padded on
    the left. `limits` (rows,) holds the maximum number of new tokens.
    """
    width, cache = ids.shape[1], None
    rows, finished = torch.arange(len(ids), device=ids.device), [[] for _ in ids]
    while len(rows):
        criterion = _StopWhenHalfFinished(width, limits, search.prompt.end)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            max_new_tokens=width + int(limits.max()) - ids.shape[1],
            stopping_criteria=StoppingCriteriaList([criterion]),
            do_sample=False,
            return_dict_in_generate=True,
        )
        ended = criterion.ended(output.sequences)
        for row, generated in zip(rows[ended].tolist(), output.sequences[ended, width:].tolist(), strict=True):
            finished[row] = generated
        rows, limits, ids = rows[~ended], limits[~ended], output.sequences[~ended]
        # A cache that cannot be reordered is discarded and computed again.
        cache = output.past_key_values if search.can_reorder_cache else None
        if cache is not None:
            cache.reorder_cache((~ended).nonzero().flatten())
        mask = torch.cat([mask[~ended], mask.new_ones(len(ids), ids.shape[1] - mask.shape[1])], dim=1)
    return finished


class _StopWhenHalfFinished(StoppingCriteria):
    """Stop when half of the rows have ended: with `</s>` after the `width` tokens of the prompt, or at their limit."""

    def __init__(self, width: int, limits: Tensor, end: int) -> None:
        self.width, self.limits, self.end = width, limits, end

    def ended(self, ids: Tensor) -> Tensor:
        """Return a mask (rows,) of the rows that have ended."""
        generated = ids[:, self.width :]
        return (generated == self.end).any(dim=1) | (self.limits <= generated.shape[1])

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        """Stop the rows that have ended; stop all rows if at least half have ended."""
        ended = self.ended(input_ids)
        return ended | (2 * ended.sum() >= len(ended))
