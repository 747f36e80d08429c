"""Translate sentences with a trained decoder."""

import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from skipclm import modeling
from skipclm.errors import InputError
from skipclm.examples import Prompt, pad


@torch.inference_mode()
def translate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: list[list[int]],
    *,
    beams: int = 1,
    batch_size: int = 100,
    length_ratio: float = 2.0,
    length_extra: int = 10,
    progress: bool = True,
) -> list[str]:
    """Translate sentences, given as token ids without special tokens; returns them in order, each on one line.

    A translation has at most `length_ratio` tokens for each source token and `length_extra` more. With `progress`, a
    bar on standard error counts the batches.
    """
    prompt, translations = Prompt.of(tokenizer), [""] * len(sources)
    model.eval()
    # A checkpoint may carry habits of its own, such as a penalty on repetition.
    modeling.decoder_of(model).generation_config = GenerationConfig(eos_token_id=prompt.end, pad_token_id=prompt.pad)
    by_length = sorted(range(len(sources)), key=lambda i: len(sources[i]), reverse=True)  # little padding
    for start in tqdm(range(0, len(by_length), batch_size), unit="batch", mininterval=2.0, disable=not progress):
        chosen = by_length[start : start + batch_size]
        limits = [int(length_ratio * len(sources[i])) + length_extra for i in chosen]
        generated = _generate(model, prompt, [sources[i] for i in chosen], max(limits), beams)
        for i, limit, ids in zip(chosen, limits, generated, strict=True):
            translations[i] = one_line(tokenizer.decode(ids[:limit], skip_special_tokens=True))
    return translations


def _generate(
    model: PreTrainedModel, prompt: Prompt, sources: list[list[int]], limit: int, beams: int
) -> list[list[int]]:
    """Return what the model puts after each prompt, at most `limit` tokens, `</s>` and padding included."""
    prompts = [prompt.source(ids) for ids in sources]
    context, longest = modeling.context(model), max(map(len, prompts))
    if context is not None and longest >= context:
        raise InputError(
            f"expected sentences that leave room for a translation, found a prompt of {longest} tokens, where the "
            f"model reads {context}; shorten the sentence, or lower corpus.cleaning.max_bytes"
        )
    generated = model.generate(
        input_ids=pad(prompts, prompt.pad, left=True).to(model.device),
        attention_mask=pad([[1] * len(ids) for ids in prompts], 0, left=True).to(model.device),
        max_new_tokens=limit if context is None else min(limit, context - longest),
        num_beams=beams,
        do_sample=False,
    )
    return generated[:, longest:].tolist()


def one_line(text: str) -> str:
    """Return the text on one line: every run of white space, line breaks included, becomes one space."""
    return " ".join(text.split())
