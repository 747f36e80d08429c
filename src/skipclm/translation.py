"""Translate sentences with a trained decoder."""

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
) -> list[str]:
    """Translate sentences, given as token ids without special tokens; returns them in order, each on one line.

    A translation has at most `length_ratio` tokens for each source token and `length_extra` more.
    """
    prompt, translations = Prompt.of(tokenizer), [""] * len(sources)
    model.eval()
    by_length = sorted(range(len(sources)), key=lambda i: len(sources[i]), reverse=True)  # little padding
    for start in tqdm(range(0, len(by_length), batch_size), unit="batch", mininterval=2.0):
        chosen = by_length[start : start + batch_size]
        prompts = [prompt.source(sources[i]) for i in chosen]
        limits = [int(length_ratio * len(sources[i])) + length_extra for i in chosen]
        generated = model.generate(
            input_ids=pad(prompts, prompt.pad, left=True).to(model.device),
            attention_mask=pad([[1] * len(p) for p in prompts], 0, left=True).to(model.device),
            max_new_tokens=max(limits),
            num_beams=beams,
            do_sample=False,
            eos_token_id=prompt.end,
            pad_token_id=prompt.pad,
        )[:, max(map(len, prompts)) :]
        for i, limit, ids in zip(chosen, limits, generated.tolist(), strict=True):
            text = tokenizer.decode(until(ids[:limit], prompt.end), skip_special_tokens=True)
            translations[i] = one_line(text)
    return translations


def until(ids: list[int], end: int) -> list[int]:
    """Return the ids before the first `end`."""
    return ids[: ids.index(end)] if end in ids else ids


def one_line(text: str) -> str:
    """Return the text on one line: every run of white space, line breaks included, becomes one space."""
    return " ".join(text.split())
