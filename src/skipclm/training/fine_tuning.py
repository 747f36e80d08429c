"""Fine-tune a decoder to translate: one loop for every cell and variant."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, TrainerCallback

from skipclm.data.batching import IGNORED, Collator
from skipclm.data.examples import Examples, Prompt
from skipclm.errors import InputError
from skipclm.models import adapters, decoders, modeling
from skipclm.runtime.snapshots import Snapshots
from skipclm.training import losses, training_loop
from skipclm.training.callbacks import GateWarmup


class Objective(nn.Module):
    """The training loss of a decoder: translation, and a contrastive loss at one layer if asked for.

    In a causal model, the states of the source do not depend on the target. One pass over the whole example therefore
    also gives the source vectors; only the targets go through the first blocks again.

    `micro_batch` is the number of pairs per forward pass. The pass is repeated for the gradients, so memory does not
    grow with the batch, and all pairs of the batch remain negatives of each other (GradCache, Gao et al. 2021). With
    several processes, loss and gradients are those of the global batch.
    """

    def __init__(self, model: PreTrainedModel, contrastive: dict, micro_batch: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.contrastive = contrastive
        self.micro_batch = micro_batch

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return `loss`, its parts, the gate of a skip, and the numbers of tokens for a batch of `Collator`."""
        # Validation compares systems by the loss that all of them have.
        layer = self.contrastive["layer"] if self.contrastive["enabled"] and self.training else None
        predicted = (batch["labels"][:, 1:] != IGNORED).sum()
        # Gradients are averaged over processes, so each process divides by the mean count of tokens.
        count = losses.gathered(predicted[None]).float().mean()
        results = [self._pass(micro_batch, layer, count) for micro_batch in self._micro_batches(batch)]
        lm_losses, router_losses, sources, targets = zip(*results, strict=True)
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

    def _micro_batches(self, batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Cut a batch into micro-batches."""
        size = self.micro_batch or len(batch["length"])
        split = {name: rows.split(size) for name, rows in batch.items()}
        return [dict(zip(split, rows, strict=True)) for rows in zip(*split.values(), strict=True)]

    def _pass(self, batch: dict[str, Tensor], layer: int | None, count: Tensor) -> tuple[Tensor | None, ...]:
        """Return translation loss, router loss and the vectors (pairs, width) of sources and targets at the layer.

        The router loss is None for a decoder without router, and the vectors are None if `layer` is None.
        """
        if self.micro_batch is None or not self.training:
            return self._run(batch, layer, count)
        return checkpoint(self._run, batch, layer, count, use_reentrant=False)

    def _run(self, batch: dict[str, Tensor], layer: int | None, count: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the result of `_pass`."""
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
        """Return the router loss of a micro-batch, weighted by its share of predicted tokens; None without router."""
        positions = torch.arange(batch["input_ids"].shape[1], device=batch["length"].device)
        loss = head.router_loss(output, (positions < batch["length"][:, None]).long())
        return None if loss is None else loss * (batch["labels"][:, 1:] != IGNORED).sum() / count


# The settings of `training` that are not options of the loop.
NOT_LOOP_OPTIONS = ("weights", "max_tokens", "micro_batch", "compile", "processes")


@dataclass(frozen=True)
class Outcome:
    """A trained model, its history (a row per logged step) and facts for the record."""

    model: PreTrainedModel
    history: list[dict]
    facts: dict


def with_skip(model: PreTrainedModel, skip: dict) -> PreTrainedModel:
    """Put a skip connection around the model if the settings enable it."""
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
    """Fine-tune `model` in place on `examples` with the settings of a run (contrastive, skip, lora, training).

    The Trainer writes to `folder`, and `callbacks` are added to its own. With `snapshots`, the training resumes from
    the newest one, and its weights are the same as without an interrupt. The facts have a `status`: `ok`, or `diverged`
    if the loss was not finite. Raises an `InputError` if fewer than `batch_size` training pairs are within
    `max_tokens`, or if validation is enabled and no pair of `valid` is within it. Raises a `TerminatedError` after a
    signal.
    """
    options = {k: v for k, v in settings["training"].items() if k not in ("enabled", *NOT_LOOP_OPTIONS)}
    max_tokens, micro_batch = settings["training"]["max_tokens"], settings["training"]["micro_batch"]
    usable = examples.usable(max_tokens, options["batch_size"], "train")
    valid = valid.usable(max_tokens, min(1, options["validations"]), "valid")
    _check_context(model, prompt, max_tokens)
    transformers.set_seed(seed)
    model, merge = prepare(model, settings)
    contrastive = settings["contrastive"]
    trainer = training_loop.TrainingLoop(
        Objective(model, contrastive, micro_batch),
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
    """Prepare a decoder in place for training with the settings of a run.

    Returns the model, with a skip connection if it is enabled, and a function to call after training, which merges
    adapters into the weights.
    """
    decoders.fuse_attention(model)
    if settings["training"]["compile"]:
        _compile(model)
    merge = adapters.adapt(model, settings["training"]["weights"], settings["lora"])
    return with_skip(model, settings["skip"]), merge


def _compile(decoder: PreTrainedModel) -> None:
    """Compile the forward methods of the blocks in place; hooks on the blocks remain."""
    for block in decoders.find_blocks(decoder):
        block.forward = torch.compile(block.forward, dynamic=True)


def _check_context(model: PreTrainedModel, prompt: Prompt, max_tokens: int) -> None:
    """Raise an `InputError` if an example can be longer than the context of the model."""
    context, special = modeling.context(model), len(prompt.source(prompt.target([])))
    if context is not None and max_tokens + special > context:
        raise InputError(
            f"training.max_tokens: expected at most {context - special}, since the model reads {context} tokens, "
            f"{special} of them special; found {max_tokens}; lower it"
        )


def _summary(trainer: training_loop.TrainingLoop) -> dict:
    """Return how a training ended."""
    diverged = trainer.diverged()
    *_, last = (row["lm_loss"] for row in trainer.history() if "lm_loss" in row)
    return {
        "status": "diverged" if diverged else "ok",
        "train_steps": trainer.state.global_step,
        "train_tokens": trainer.means.total_tokens(),
        "gpu_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        "train_loss": None if diverged else last,
    }
