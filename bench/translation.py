"""Time translation against `generate` of transformers on unsorted batches, with the same trained model."""

import tempfile
import time
from pathlib import Path

import torch
from arms import default_config
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from skipclm.config import runs
from skipclm.data.batching import pad
from skipclm.data.examples import Examples, Prompt, decode, encode
from skipclm.demo import generator
from skipclm.evaluation import decoding
from skipclm.models import checkpoints
from skipclm.training import base_model, fine_tuning

BATCH = 128
TEST = 500
TOKENS = default_config()["evaluation"]["batch_tokens"]
LIMITS = {"length_ratio": 2.0, "length_extra": 10}


def trained_model() -> tuple[Path, Examples]:
    """Train a model on the built-in corpus with the default configuration; return its folder and held-out pairs."""
    config, sentences = default_config(), generator.generate(8000, 1)
    source, target = ([row[language] for row in sentences] for language in ("en", "de"))
    folder = Path(tempfile.mkdtemp())
    texts = {"en": source[TEST:], "de": target[TEST:]}
    decoder, tokenizer, _ = base_model.from_scratch(texts, config["model"]["scratch"], folder)
    settings = runs.cell_settings(config, runs.Cell(2, 2, 3))
    pairs = Examples.encoded(tokenizer, source, target)
    train, held_out = pairs.select(list(range(TEST, len(pairs)))), pairs.select(list(range(TEST)))
    outcome = fine_tuning.train(decoder, Prompt.of(tokenizer), settings, train, held_out, 1, folder)
    checkpoints.save(outcome.model, tokenizer, folder / "model", {})
    return folder / "model", held_out


def _stock(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: list, beams: int) -> list[list[int]]:
    """Return the tokens of translations by `generate`, in batches without sorting."""
    prompt, rows = Prompt.of(tokenizer), []
    for start in range(0, len(sources), BATCH):
        batch = sources[start : start + BATCH]
        limits = [int(LIMITS["length_ratio"] * len(ids)) + LIMITS["length_extra"] for ids in batch]
        prompts = [prompt.source(ids) for ids in batch]
        with torch.inference_mode():
            generated = model.generate(
                input_ids=pad(prompts, prompt.pad, left=True),
                attention_mask=pad([[1] * len(ids) for ids in prompts], 0, left=True),
                max_new_tokens=max(limits),
                num_beams=beams,
                do_sample=False,
                eos_token_id=prompt.end,
                pad_token_id=prompt.pad,
            )
        generated = generated[:, max(map(len, prompts)) :].tolist()
        rows += [ids[:limit] for ids, limit in zip(generated, limits, strict=True)]
    return rows


def compare(rounds: int, beams: int, folder: Path, pairs: Examples) -> dict[str, list]:
    """Return the seconds of each round by arm, and the numbers of tokens, of equal outputs and of sentences."""
    ours, tokenizer = checkpoints.load(folder)
    stock = AutoModelForCausalLM.from_pretrained(folder)
    seconds: dict[str, list] = {"stock": [], "ours": []}
    for _ in range(rounds):
        started = time.perf_counter()
        rows = _stock(stock, tokenizer, pairs.source, beams)
        texts = decode(tokenizer, rows)
        seconds["stock"].append(time.perf_counter() - started)
        started = time.perf_counter()
        our_texts = decoding.translate(
            ours, tokenizer, pairs.source, beams=beams, batch_tokens=TOKENS, progress=False, **LIMITS
        ).texts
        seconds["ours"].append(time.perf_counter() - started)
    tokens = sum(map(len, encode(tokenizer, texts))) + len(texts)  # with one end token each
    same = sum(one == other for one, other in zip(our_texts, texts, strict=True))
    return seconds | {"tokens": tokens, "same": same, "sentences": len(texts)}
