"""The training loop of base models and runs: Hugging Face's Trainer, a readable log and a history."""

import copy
import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import WEIGHTS_NAME, is_torch_bf16_gpu_available

from skipclm.data.batching import LengthGroupedBatches
from skipclm.errors import InputError, ShortOfMemoryError, TerminatedError
from skipclm.runtime import memory
from skipclm.runtime.snapshots import PROGRESS, Snapshots
from skipclm.training import callbacks
from skipclm.training.running_means import RunningMeans


def arguments(
    folder: str | Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    schedule: str = "cosine",
    warmup: float = 0.05,
    weight_decay: float = 0.01,
    max_gradient_norm: float = 1.0,
    precision: str = "fp32",
    log_every: int = 10,
    validations: int = 0,
) -> TrainingArguments:
    """Return the Trainer's arguments; the names are those of the section `training` of the configuration.

    Raises an `InputError` if `precision` is bf16 and the accelerator does not support it.
    """
    has_accelerator, has_bf16 = torch.accelerator.is_available(), is_torch_bf16_gpu_available()
    if precision == "bf16" and has_accelerator and not has_bf16:
        raise InputError("training.precision: bf16 is not supported by this accelerator; use fp32 or auto")
    bf16 = precision == "bf16" or (precision == "auto" and has_bf16)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=round(warmup * steps),
        weight_decay=weight_decay,
        max_grad_norm=max_gradient_norm,
        bf16=bf16,
        use_cpu=not has_accelerator,
        seed=seed,
        logging_steps=min(log_every, steps),  # at least one row
        logging_nan_inf_filter=False,  # otherwise the log hides a diverged run
        eval_strategy="steps" if validations else "no",
        eval_steps=math.ceil(steps / max(1, validations)),
        prediction_loss_only=True,
        save_strategy="no",  # only when a callback asks for it
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
    )


class TrainingLoop(Trainer):
    """The Trainer with batches of similar length, and with means of the model's outputs in the history.

    `options` may contain the options of `arguments`; `batch_tokens` (see `LengthGroupedBatches`; it needs `lengths`,
    the lengths of the examples); and `gradient_cosine`: if true, the cosine between the gradients of the two losses is
    logged.

    The model returns a dict of `loss`, `tokens` (the number of tokens in the batch) and any further scalars, which are
    averaged. In evaluation, the loop reads `lm_loss`, a mean over tokens, and `predicted_tokens`, the number of these
    tokens.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: str | Path,
        seed: int,
        options: dict,
        lengths: list[int] | None = None,
        snapshots: Snapshots | None = None,
        **kwargs: object,
    ) -> None:
        memory.return_large_blocks()
        options = dict(options)
        self.batch_tokens, self.gradient_cosine = (options.pop(k, None) for k in ("batch_tokens", "gradient_cosine"))
        args = arguments(snapshots.folder if snapshots else folder, seed=seed, **options)
        # A training runs in several processes, never in several threads (DataParallel), where hooks on blocks fail.
        args._n_gpu = min(1, args.n_gpu)
        super().__init__(model=model, args=args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(callbacks.Progress(snapshots.folder / PROGRESS if snapshots else None))
        self.add_callback(callbacks.StopIfDiverged())
        self.lengths = lengths
        self.means = RunningMeans(args.device)
        self.snapshots = snapshots
        if snapshots:
            self._saver = callbacks.SaveSnapshots(snapshots, self)
            self.add_callback(self._saver)
        self._started = 0.0  # the time at which `run` begins

    def run(self) -> float:
        """Train from the newest snapshot, or from the beginning; return the seconds of the whole training.

        Raises `TerminatedError` after a signal, once a snapshot is saved, unless the last step was done.
        """
        self._started = time.perf_counter()
        if not self.snapshots:
            self.train()
            return self._elapsed()
        self._saver.resumed = self.snapshots.newest()
        try:
            self.train(resume_from_checkpoint=str(self._saver.resumed) if self._saver.resumed else None)
        except Exception:
            self.snapshots.remove_unfinished()  # a full disk needs the room
            raise
        if self._saver.is_cut_short:
            raise TerminatedError
        return self._elapsed()

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def state_dict(self) -> dict:
        """Return what this process adds to a snapshot of the Trainer."""
        micro_batch = getattr(self.model, "micro_batch", None)
        return {"means": self.means.state_dict(), "seconds": self._elapsed(), "micro_batch": micro_batch}

    def load_state_dict(self, state: dict) -> None:
        """Continue from the state of a snapshot."""
        self.means.load_state_dict(state["means"])
        self._started -= state["seconds"]
        if state["micro_batch"]:  # memory was short, before the snapshot or after it
            self.model.micro_batch = min(state["micro_batch"], self.model.micro_batch or state["micro_batch"])

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the weights for a snapshot. This format of PyTorch stores shared weights once."""
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        if self.args.should_save:
            torch.save(self.model.state_dict(), Path(output_dir) / WEIGHTS_NAME)

    def get_train_dataloader(self) -> DataLoader:
        """Return the batches; with several processes, the share of this process in each batch."""
        if self.lengths is None:
            return super().get_train_dataloader()
        batches = LengthGroupedBatches(
            self.lengths,
            self.args.train_batch_size,
            self.args.max_steps,
            self.args.seed,
            self.batch_tokens,
            self.args.process_index,
            self.args.world_size,
        )
        pin = self.args.dataloader_pin_memory
        return DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator, pin_memory=pin)

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader:
        """Return the batches of validation; each process evaluates all of them."""
        if self.args.world_size == 1:
            return super().get_eval_dataloader(eval_dataset)
        size, collate = self.args.eval_batch_size, self.data_collator
        return DataLoader(self.eval_dataset, batch_size=size, collate_fn=collate)

    def training_step(
        self, model: nn.Module, inputs: dict, num_items_in_batch: int | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Do one step. If memory is short, repeat it with half the micro-batch; the batch is the same.

        Raises a `ShortOfMemoryError` instead if several processes train, because all of them must start again.
        """
        while True:
            means = copy.copy(self.means)
            try:
                return super().training_step(model, inputs, num_items_in_batch)
            except RuntimeError as error:
                if not memory.is_out_of_memory(error) or not self._halve_micro_batch(len(next(iter(inputs.values())))):
                    raise
                if self.args.world_size > 1:
                    raise ShortOfMemoryError(self.model.micro_batch) from error
            self.means = means
            model.zero_grad()
            memory.release()

    def _halve_micro_batch(self, batch_size: int) -> bool:
        """Halve the micro-batch; return False if it is one pair already."""
        size = min(getattr(self.model, "micro_batch", 1) or batch_size, batch_size)
        if size == 1:
            return False
        self.model.micro_batch = math.ceil(size / 2)
        print(f"out of memory at step {self.state.global_step + 1}: micro_batch {self.model.micro_batch} from here on")
        return True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict,
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> torch.Tensor | tuple:
        """Return the loss; in evaluation only the language-model loss, which all systems share."""
        outputs = model(**inputs)
        if not model.training:
            self._valid_loss += outputs["lm_loss"] * outputs["predicted_tokens"]
            self._valid_tokens += outputs["predicted_tokens"]
            return (outputs["lm_loss"], outputs) if return_outputs else outputs["lm_loss"]
        is_logged = (self.state.global_step + 1) % self.args.logging_steps == 0
        if self.gradient_cosine and is_logged and "contrastive_loss" in outputs:
            self._cosine = self._gradient_cosine(outputs["lm_loss"], outputs["contrastive_loss"])
        self.means.add({name: value for name, value in outputs.items() if name != "predicted_tokens"})
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def _gradient_cosine(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """Return the cosine between the gradients of two losses, over the weights that both losses reach."""
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        gradients = [torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for loss in (one, other)]
        shared = [pair for pair in zip(*gradients, strict=True) if pair[0] is not None and pair[1] is not None]
        one, other = (torch.cat([grad.flatten().float() for grad in side]) for side in zip(*shared, strict=True))
        return float(torch.cosine_similarity(one, other, dim=0))

    def evaluate(self, *args: object, **kwargs: object) -> dict[str, float]:
        """Evaluate without an effect on the random numbers and the speed of the training."""
        self._valid_loss, self._valid_tokens = 0.0, 0
        with self.means.paused(), torch.random.fork_rng():
            return super().evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the means since the last call, and the speed, with the values of the Trainer."""
        if "loss" in logs:
            means, tokens_per_second = self.means.pop()
            logs |= means  # also `loss`: the Trainer's own value is wrong after a resume
            if self.gradient_cosine and "contrastive_loss" in logs:
                logs["gradient_cosine"] = self._cosine
            logs["tokens_per_second"] = tokens_per_second
        if "eval_loss" in logs:  # the Trainer's own is a mean over batches; this one is a mean over tokens
            logs["eval_loss"] = float(self._valid_loss / self._valid_tokens)
        super().log(logs, start_time)

    def diverged(self) -> bool:
        """Return whether a logged loss, or a weight after the last log, is not finite."""
        logged = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        weights_are_finite = all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters())
        return not (weights_are_finite and all(map(math.isfinite, logged)))

    def history(self) -> list[dict]:
        """Return a row per logged step: loss, its parts, learning rate, speed, and `valid_loss` after a validation."""
        rows: dict[int, dict] = {}
        for entry in self.state.log_history:
            if not entry.keys() & {"loss", "eval_loss"}:
                continue  # the Trainer's closing summary
            row = rows.setdefault(entry["step"], {"step": entry["step"]})
            if "loss" in entry:
                row |= {name: value for name, value in entry.items() if name not in ("epoch", "step")}
            if "eval_loss" in entry:
                row["valid_loss"] = entry["eval_loss"]
        return [rows[step] for step in sorted(rows)]
