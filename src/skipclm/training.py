"""Fine-tune a decoder to translate: one loop for every cell and variant."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from skipclm import loop, losses, modeling
from skipclm.errors import InputError
from skipclm.examples import IGNORED, Collator, Examples, Prompt


class Objective(nn.Module):
    """The training loss of a decoder: translation, and InfoNCE at one layer if asked for.

    In a causal model the source half of an example has the states that it would have alone, so one full pass yields
    the source vectors too; only the targets go through the first blocks again.
    """

    def __init__(self, model: PreTrainedModel, contrastive: dict) -> None:
        super().__init__()
        self.model = model
        self.contrastive = contrastive

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return `loss`, its parts, the gate if there is one and the numbers of tokens for a `Collator` batch."""
        decoder = modeling.decoder_of(self.model)
        # Validation compares systems by the loss they share.
        uses_contrastive = self.contrastive["enabled"] and self.training
        with modeling.Recorder(decoder, self.contrastive["layer"] if uses_contrastive else None) as recorder:
            states = decoder.base_model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
            ).last_hidden_state
            lm_loss = losses.translation_loss(states, batch["labels"], partial(modeling.logits_of, decoder))
            outputs = {
                "loss": lm_loss,
                "lm_loss": lm_loss,
                "tokens": batch["attention_mask"].sum(),
                "predicted_tokens": (batch["labels"] != IGNORED).sum(),
            }
            if uses_contrastive:
                contrastive_loss = self._contrastive_loss(decoder, recorder, batch)
                outputs["loss"] = lm_loss + self.contrastive["weight"] * contrastive_loss
                outputs["contrastive_loss"] = contrastive_loss
        if isinstance(self.model, modeling.SkipCLMForCausalLM):
            outputs["gate"] = self.model.skip.gate
        return outputs

    def _contrastive_loss(
        self, decoder: PreTrainedModel, recorder: modeling.Recorder, batch: dict[str, Tensor]
    ) -> Tensor:
        """Take the source vectors from what the full pass left in the recorder, and run the targets' own pass."""
        source_states = recorder.state[:, : batch["source_mask"].shape[1]]
        lower = modeling.first_blocks(decoder, self.contrastive["layer"])
        lower(input_ids=batch["target_ids"], attention_mask=batch["target_attention"], use_cache=False)
        return losses.info_nce(
            losses.mean_pool(source_states, batch["source_mask"]),
            losses.mean_pool(recorder.state, batch["target_mask"]),
            self.contrastive["temperature"],
            losses.shared_sentences(batch["source_key"], batch["target_key"]),
        )


class GateWarmup(TrainerCallback):
    """Raise the gate of a `warmup` skip linearly to one."""

    def __init__(self, gate: Tensor, steps: int) -> None:
        self.gate, self.steps = gate, steps

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Set the gate for the coming step."""
        self.gate.fill_(min(1.0, state.global_step / self.steps))


@dataclass(frozen=True)
class Outcome:
    """A trained model, its history (a row per logged step) and facts for the record."""

    model: PreTrainedModel
    history: list[dict]
    facts: dict


def with_skip(model: PreTrainedModel, skip: dict) -> PreTrainedModel:
    """Put the skip connection that the settings ask for around the model, if they ask for one."""
    if not skip["enabled"]:
        return model
    return modeling.SkipCLMForCausalLM.around(
        model,
        skip["source"],
        skip["target"],
        skip_activation=skip["activation"],
        skip_normalize=skip["normalize"],
        skip_gate=skip["gate"],
    )


def train(
    model: PreTrainedModel,
    prompt: Prompt,
    settings: dict,
    examples: Examples,
    valid: Examples,
    seed: int,
    folder: str | Path,
) -> Outcome:
    """Fine-tune `model`, in place, on `examples` by the method settings (contrastive, skip, training).

    `folder` is for the Trainer's own files. The facts hold `status`, which is `diverged` if the loss was no longer
    finite. Raises an `InputError` if fewer pairs than a batch are short enough.
    """
    options = {k: v for k, v in settings["training"].items() if k not in ("enabled", "max_tokens")}
    usable = examples.within(settings["training"]["max_tokens"])
    if len(usable) < options["batch_size"]:
        raise InputError(
            f"training.max_tokens: expected at least a batch of {options['batch_size']} pairs within "
            f"{settings['training']['max_tokens']} tokens, found {len(usable)} of {len(examples)}; raise it, lower "
            "training.batch_size or give more text"
        )
    _check_context(model, prompt, settings["training"]["max_tokens"])
    transformers.set_seed(seed)
    model = with_skip(model, settings["skip"])
    trainer = loop.Loop(
        Objective(model, settings["contrastive"]),
        loop.arguments(folder, seed=seed, **options),
        lengths=usable.lengths(),
        train_dataset=usable,
        eval_dataset=valid.within(settings["training"]["max_tokens"]),
        data_collator=Collator(prompt),
    )
    if settings["skip"]["enabled"] and settings["skip"]["gate"] == "warmup":
        trainer.add_callback(GateWarmup(model.skip.gate, settings["skip"]["warmup_steps"]))
    started = time.perf_counter()
    trainer.train()
    facts = {"train_seconds": time.perf_counter() - started, "train_pairs": len(usable)}
    return Outcome(model, trainer.history(), facts | _summary(trainer))


def _check_context(model: PreTrainedModel, prompt: Prompt, max_tokens: int) -> None:
    """Raise an `InputError` if an example could be longer than what the model reads."""
    context, special = modeling.context(model), len(prompt.source([])) + len(prompt.target([]))
    if context is not None and max_tokens + special > context:
        raise InputError(
            f"training.max_tokens: expected at most {context - special}, since the model reads {context} tokens, "
            f"{special} of them special; found {max_tokens}; lower it"
        )


def _summary(trainer: loop.Loop) -> dict:
    """Say how a training ended."""
    diverged = trainer.diverged()
    *_, last = (row["lm_loss"] for row in trainer.history() if "lm_loss" in row)
    return {
        "status": "diverged" if diverged else "ok",
        "train_steps": trainer.state.global_step,
        "train_loss": None if diverged else last,
    }
