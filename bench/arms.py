"""The systems (arms) of the benchmark. Each trains for some rounds; a round is a pass over the same pairs."""

import gc
import math
import tempfile
from collections.abc import Callable
from itertools import accumulate
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import yaml
from rounds import Turns
from torch import nn
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    XGLMConfig,
    XGLMForCausalLM,
)

from skipclm.config import runs
from skipclm.data.batching import LengthGroupedBatches
from skipclm.data.examples import Examples, Prompt
from skipclm.models import decoders
from skipclm.training import fine_tuning

BATCH = 16
BATCH_TOKENS = 1536  # with padding, for this package: a batch of the longest sentences is split in two
VOCABULARY = 32000
LEARNING_RATE = 1e-4
REPOSITORY = Path(__file__).parents[1]


def default_config() -> dict:
    """Return the configuration of the built-in experiment."""
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))


def new_model() -> XGLMForCausalLM:
    """Return a random decoder with the architecture and depth of XGLM, and a width that suits two cores."""
    torch.manual_seed(1)
    sizes = {"num_layers": 24, "d_model": 192, "ffn_dim": 768, "attention_heads": 6, "vocab_size": VOCABULARY}
    # No dropout, as in base models from scratch: on a CPU, attention with dropout is not fused.
    return XGLMForCausalLM(XGLMConfig(**sizes, dropout=0.0, attention_dropout=0.0))


def stock(tokenizer: PreTrainedTokenizerBase, pairs: Examples, rounds: int, line: Connection) -> None:
    """Train with transformers only: random batches padded to the longest, labels on all tokens."""
    _stock_trainer(Trainer, tokenizer, pairs, rounds, line).train()


def published(tokenizer: PreTrainedTokenizerBase, pairs: Examples, rounds: int, line: Connection) -> None:
    """Train at the cost of the published recipe: see `PublishedCost`."""
    _stock_trainer(PublishedCost, tokenizer, pairs, rounds, line).train()


class PublishedCost(Trainer):
    """Stock training with three passes through the first blocks: for an anchor, a positive and a negative.

    Positive and negative are token ids as long as the anchor, not sentences, because only the cost is measured. The
    published code collects garbage in each step and in its collator; this class does so twice in each step.
    """

    LAYER = 3

    def compute_loss(self, model: nn.Module, inputs: dict, *args: object, **kwargs: object) -> torch.Tensor:
        """Return the language-model loss and a triplet loss at the layer."""
        gc.collect()
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        triple = (ids, torch.where(mask.bool(), ids.flip(1), ids), ids.roll(1, 0))
        anchor, positive, negative = (self._state(model, tokens, mask) for tokens in triple)
        gc.collect()
        return loss + 0.01 * nn.functional.triplet_margin_loss(anchor, positive, negative, margin=0.1)

    def _state(self, model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with decoders.Recorder(model, self.LAYER) as recorder:
            decoders.first_blocks(model, self.LAYER)(input_ids=ids, attention_mask=mask, use_cache=False)
        return recorder.state[torch.arange(len(ids)), mask.sum(1) - 1]


def _stock_trainer(
    kind: type[Trainer], tokenizer: PreTrainedTokenizerBase, pairs: Examples, rounds: int, line: Connection
) -> Trainer:
    prompt, turns = Prompt.of(tokenizer), Turns(line, math.ceil(len(pairs) / BATCH))
    rows = [
        prompt.source(item["source"]) + prompt.target(item["target"])
        for item in map(pairs.__getitem__, range(len(pairs)))
    ]
    steps = turns.steps(rounds)
    return kind(
        new_model(),
        TrainingArguments(
            tempfile.mkdtemp(),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=steps,
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=[turns],
    )


def ours(contrastive: int | None) -> Callable[..., None]:
    """Return an arm of this package: fine-tuning with InfoNCE at a layer and a skip from 3 to 18, or without both."""

    def train(tokenizer: PreTrainedTokenizerBase, pairs: Examples, rounds: int, line: Connection) -> None:
        # The pairs are a sample. One pool has as many batches as in a training on all pairs, about fifteen.
        LengthGroupedBatches.POOLS = 1
        prompt = Prompt.of(tokenizer)
        lengths = [length + len(prompt.source(prompt.target([]))) for length in pairs.lengths()]
        sample = LengthGroupedBatches(lengths, BATCH, len(pairs), 1, BATCH_TOKENS)
        turns = Turns(line, next(i for i, count in enumerate(accumulate(map(len, sample)), 1) if count == len(pairs)))
        settings = runs.cell_settings(default_config(), runs.Cell(contrastive or 1, 3, 18))
        settings["training"] |= {"steps": turns.steps(rounds), "batch_size": BATCH, "batch_tokens": BATCH_TOKENS}
        settings["training"] |= {"learning_rate": LEARNING_RATE, "validations": 0, "log_every": turns.steps(rounds)}
        if contrastive is None:
            settings["contrastive"] = settings["skip"] = {"enabled": False}
        fine_tuning.train(new_model(), prompt, settings, pairs, pairs, 1, tempfile.mkdtemp(), callbacks=[turns])

    return train


ARMS = {
    "stock": stock,
    "published": published,
    "plain": ours(None),
    "full, c = 3": ours(3),
    "full, c = 12": ours(12),
}
