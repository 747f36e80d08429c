"""Fine-tune a decoder to translate: one loop for every cell and variant."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, TrainerCallback

from skipclm.data.examples import IGNORED, Collator, Examples, Prompt
from skipclm.errors import InputError
from skipclm.models import adapters, decoders, modeling
from skipclm.runtime.snapshots import Snapshots
from skipclm.training import losses, training_loop
from skipclm.training.callbacks import GateWarmup


class Objective(nn.Module):
    """The training loss of a decoder: translation, and a contrastive loss at one layer if asked for.

    In a causal model the source half of an example has the states that it would have alone, so one full pass yields
    the source vectors too; only the targets go through the first blocks again.

    With `micro_batch`, so many pairs go through the model at a time, and once more for their gradients: memory does
    not grow with the batch, whose pairs are all negatives of each other nonetheless (as in GradCache, Gao et al. 2021).
    Between processes, which bring shares of a batch, loss and gradient are those of the whole batch.
    """

    def __init__(self, model: PreTrainedModel, contrastive: dict, micro_batch: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.contrastive = contrastive
        self.micro_batch = micro_batch

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return `loss`, its parts, the gate if there is one and the numbers of tokens for a `Collator` batch."""
        # Validation compares systems by the loss they share.
        layer = self.contrastive["layer"] if self.contrastive["enabled"] and self.training else None
        predicted = (batch["labels"][:, 1:] != IGNORED).sum()
        # Gradients are averaged over processes, so that each divides by the mean of what they have.
        count = losses.gathered(predicted[None]).float().mean()
        parts = [self._pass(part, layer, count) for part in self._parts(batch)]
        lm_losses, router_losses, sources, targets = zip(*parts, strict=True)
        lm_loss = sum(lm_losses)
        outputs = {"loss": lm_loss, "lm_loss": lm_loss}
        if router_losses[0] is not None:
            outputs["router_loss"] = sum(router_losses)
            outputs["loss"] = outputs["loss"] + outputs["router_loss"]
        if layer is not None:
            keys = (batch["source_key"], batch["target_key"])
            loss, accuracy = losses.contrastive(torch.cat(sources), torch.cat(targets), keys, self.contrastive)
            outputs["loss"] = outputs["loss"] + self.contrastive["weight"] * loss
            outputs |= {"contrastive_loss": loss, "retrieval_accuracy": accuracy}
        if isinstance(self.model, modeling.SkipCLMForCausalLM):
            outputs["gate"] = self.model.skip.gate
        return outputs | {"tokens": batch["length"].sum(), "predicted_tokens": predicted}

    def _parts(self, batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Cut a batch into micro-batches."""
        size = self.micro_batch or len(batch["length"])
        split = {name: rows.split(size) for name, rows in batch.items()}
        return [dict(zip(split, rows, strict=True)) for rows in zip(*split.values(), strict=True)]

    def _pass(self, batch: dict[str, Tensor], layer: int | None, count: Tensor) -> tuple[Tensor | None, ...]:
        """Return translation loss, router loss and the vectors (pairs, width) of sources and targets at the layer.

        The router loss is None for a decoder without one, the vectors are without a layer.
        """
        if self.micro_batch is None or not self.training:
            return self._run(batch, layer, count)
        return checkpoint(self._run, batch, layer, count, use_reentrant=False)

    def _run(self, batch: dict[str, Tensor], layer: int | None, count: Tensor) -> tuple[Tensor | None, ...]:
        """Return what `_pass` does."""
        decoder, examples, targets = modeling.decoder_of(self.model), batch["input_ids"], batch["target_ids"]
        for_examples, for_targets = (
            (decoder, None) if layer is None else decoders.share_lookup(decoder, examples, targets)
        )
        head = decoders.Head(decoder)
        with decoders.Recorder(decoder, layer) as recorder:
            output = decoders.body_of(for_examples)(input_ids=examples, use_cache=False)
            lm_loss = losses.translation_loss(output.last_hidden_state, batch["labels"], head, count)
            router_loss = self._router_loss(head, output, batch, count)
            if layer is None:
                return lm_loss, router_loss, None, None
            vectors = losses.pool(recorder.state[:, : batch["source_weights"].shape[1]], batch["source_weights"])
            decoders.first_blocks(for_targets, layer)(input_ids=targets, use_cache=False)
            return lm_loss, router_loss, vectors, losses.pool(recorder.state, batch["target_weights"])

    def _router_loss(self, head: decoders.Head, output: object, batch: dict[str, Tensor], count: Tensor) -> object:
        """Return the router loss of a micro-batch, weighted by its share of the predicted tokens; None without one."""
        positions = torch.arange(batch["input_ids"].shape[1], device=batch["length"].device)
        loss = head.router_loss(output, (positions < batch["length"][:, None]).long())
        return None if loss is None else loss * (batch["labels"][:, 1:] != IGNORED).sum() / count


# Settings of training that are no matter of the loop; `processes` are started before it.
OWN = ("weights", "max_tokens", "micro_batch", "compile", "processes")


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
        activation=skip["activation"],
        normalize=skip["normalize"],
        gate=skip["gate"],
    )


def train(
    model: PreTrainedModel,
    prompt: Prompt,
    settings: dict,
    examples: Examples,
    valid: Examples,
    seed: int,
    folder: str | Path,
    callbacks: Sequence[TrainerCallback] = (),
    snapshots: Snapshots | None = None,
) -> Outcome:
    """Fine-tune `model`, in place, on `examples` by the method settings (contrastive, skip, lora, training).

    `folder` is for the Trainer's own files, `callbacks` look on. With `snapshots` it goes on from the newest of them,
    and ends with the very weights that it would have had uninterrupted. The facts hold `status`, which is `diverged` if
    the loss was no longer finite. Raises an `InputError` if fewer pairs than a batch are short enough, or none of
    `valid` where it is validated on, and `TerminatedError` if it was told to end.
    """
    options = {k: v for k, v in settings["training"].items() if k not in ("enabled", *OWN)}
    own = {key: settings["training"][key] for key in OWN}
    usable = examples.usable(own["max_tokens"], options["batch_size"], "train")
    valid = valid.usable(own["max_tokens"], min(1, options["validations"]), "valid")
    _check_context(model, prompt, own["max_tokens"])
    transformers.set_seed(seed)
    model, merge = prepare(model, settings)
    contrastive = settings["contrastive"]
    trainer = training_loop.Loop(
        Objective(model, contrastive, own["micro_batch"]),
        folder,
        seed,
        options,
        lengths=[length + len(prompt.source(prompt.target([]))) for length in usable.lengths()],
        train_dataset=usable,
        eval_dataset=valid.by_length(),
        data_collator=Collator(prompt, contrastive.get("pooling", "mean")),
        callbacks=list(callbacks),
        snapshots=snapshots,
    )
    if settings["skip"]["enabled"] and settings["skip"]["gate"] == "warmup":
        trainer.add_callback(GateWarmup(model.skip.gate, settings["skip"]["warmup_steps"]))
    facts = {"train_seconds": trainer.run(), "train_pairs": len(usable), "micro_batch": trainer.model.micro_batch}
    outcome = Outcome(model, trainer.history(), facts | _summary(trainer))
    merge()
    decoders.omit_router_loss(model)
    return outcome


def prepare(model: PreTrainedModel, settings: dict) -> tuple[PreTrainedModel, Callable[[], object]]:
    """Make a decoder ready for training by the method settings, in place.

    Returns the model, with a skip connection if the settings ask for one, and what is to be called after training: it
    merges adapters into the weights.
    """
    decoders.fuse_attention(model)
    if settings["training"]["compile"]:
        _compile(model)
    merge = adapters.adapt(model, settings["training"]["weights"], settings["lora"])
    return with_skip(model, settings["skip"]), merge


def _compile(decoder: PreTrainedModel) -> None:
    """Compile what the blocks compute, in place; hooks on them stay as they are."""
    for block in decoders.find_blocks(decoder):
        block.forward = torch.compile(block.forward, dynamic=True)


def _check_context(model: PreTrainedModel, prompt: Prompt, max_tokens: int) -> None:
    """Raise an `InputError` if an example could be longer than what the model reads."""
    context, special = modeling.context(model), len(prompt.source(prompt.target([])))
    if context is not None and max_tokens + special > context:
        raise InputError(
            f"training.max_tokens: expected at most {context - special}, since the model reads {context} tokens, "
            f"{special} of them special; found {max_tokens}; lower it"
        )


def _summary(trainer: training_loop.Loop) -> dict:
    """Say how a training ended."""
    diverged = trainer.diverged()
    *_, last = (row["lm_loss"] for row in trainer.history() if "lm_loss" in row)
    return {
        "status": "diverged" if diverged else "ok",
        "train_steps": trainer.state.global_step,
        "train_tokens": trainer.tokens_read(),
        "gpu_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        "train_loss": None if diverged else last,
    }
