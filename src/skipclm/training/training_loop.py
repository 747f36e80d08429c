"""What every training has in common: Hugging Face's Trainer, a readable log and a history."""

import math
import shutil
import time
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import is_torch_bf16_gpu_available

from skipclm.data.examples import LengthGroupedBatches
from skipclm.errors import InputError, ShortOfMemoryError, TerminatedError
from skipclm.runtime import memory
from skipclm.runtime.snapshots import PROGRESS, Snapshots
from skipclm.training import callbacks, losses

_WEIGHTS = "model.safetensors"


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
    """Return the Trainer's arguments; the names are those of the configuration's `training` section.

    Raises an `InputError` if `bf16` is asked for and the accelerator does not support it.
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
        logging_steps=min(log_every, steps),  # a row at least
        logging_nan_inf_filter=False,  # a diverged run must show
        eval_strategy="steps" if validations else "no",
        eval_steps=math.ceil(steps / max(1, validations)),
        prediction_loss_only=True,
        save_strategy="no",  # but when a callback asks for it
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
    )


class Loop(Trainer):
    """The Trainer, with batches of similar length, and with means of what the model reports in the history.

    `options` are `arguments`' and, with the `lengths` of the examples, `batch_tokens` (see `LengthGroupedBatches`) and
    `gradient_cosine`, which logs the cosine between the gradients of the two losses.

    The model's output is a dict of `loss`, `tokens` (read in this batch) and any number of further scalars to be
    averaged. In evaluation, `lm_loss` and `predicted_tokens`, over which it is a mean, are read instead.
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
        # Several processes share a training, not several threads (DataParallel), which hooks on blocks do not bear.
        args._n_gpu = min(1, args.n_gpu)
        super().__init__(model=model, args=args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(callbacks.Progress(snapshots.folder / PROGRESS if snapshots else None))
        self.add_callback(callbacks.StopIfDiverged())
        self.lengths = lengths
        self.tokens = 0.0  # that were trained on, up to the last log
        self.snapshots, self._seconds = snapshots, 0.0  # the seconds that a snapshot has behind it
        if snapshots:
            self._saver = callbacks.SaveNow(snapshots.minutes)
            self.add_callback(self._saver)
        self._reset_sums()

    def run(self) -> float:
        """Train from the newest snapshot on, or from the beginning; return the seconds that all of it took.

        Raises `TerminatedError` if it was told to end, once a snapshot is saved; what has taken its last step is done.
        """
        self._started = time.perf_counter()
        newest = self.snapshots and self.snapshots.newest()
        self.train(resume_from_checkpoint=str(newest) if newest else None)
        if self.snapshots and self._saver.is_cut_short:
            raise TerminatedError
        if newest and newest.name == f"checkpoint-{self.state.global_step}":  # of the last step
            self._load_sums(newest)
        return self._elapsed()

    def _elapsed(self) -> float:
        return self._seconds + time.perf_counter() - self._started

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the weights, tied ones once, for a snapshot."""
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        if self.args.should_save:
            safetensors.torch.save_model(self.model, str(Path(output_dir) / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        safetensors.torch.load_model(self.model, Path(resume_from_checkpoint) / _WEIGHTS)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """Save a snapshot: what the Trainer saves, and what was summed since the last log."""
        snapshot = self.snapshots.folder / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            torch.save(self._all_sums(), snapshot / self._sums_file())
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.snapshots.seal(snapshot)
        except Exception:  # the disk is full, say: what is half written takes room
            shutil.rmtree(snapshot, ignore_errors=True)
            raise

    def _all_sums(self) -> dict:
        sums = {"_sums": self._sums, "_batches": self._batches, "_tr_loss": self._tr_loss, "tokens": self.tokens}
        sums |= {"_globalstep_last_logged": self._globalstep_last_logged, "_seconds": self._elapsed()}
        sums |= {"_spent": time.perf_counter() - self._since}
        return sums | {"_micro_batch": getattr(self.model, "micro_batch", None)}

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restore the running sums on resume; the Trainer calls this right before it continues."""
        super()._load_rng_state(checkpoint)
        self._load_sums(Path(checkpoint))

    def _load_sums(self, snapshot: Path) -> None:
        for name, value in torch.load(snapshot / self._sums_file(), map_location=self.args.device.type).items():
            setattr(self, name, value)
        self._since = time.perf_counter() - self._spent  # as if the time between had not been
        if self._micro_batch:  # memory may have been short since
            self.model.micro_batch = min(self._micro_batch, self.model.micro_batch or self._micro_batch)

    def _sums_file(self) -> str:
        return f"sums.{self.args.process_index}.pt"

    def tokens_read(self) -> float:
        """Return how many tokens were trained on, of all processes."""
        return self.tokens + float(
            losses.gathered(torch.as_tensor(self._sums.get("tokens", 0), device=self.args.device)[None]).sum()
        )

    def _reset_sums(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._batches, self._since = 0, time.perf_counter()
        self._valid_loss, self._valid_tokens = 0.0, 0

    def get_train_dataloader(self) -> DataLoader:
        """Return the batches; with several processes, this one's share of each."""
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
        """Return the batches of validation: all of them, for each of several processes."""
        if self.args.world_size == 1:
            return super().get_eval_dataloader(eval_dataset)
        size, collate = self.args.eval_batch_size, self.data_collator
        return DataLoader(self.eval_dataset, batch_size=size, collate_fn=collate)

    def training_step(
        self, model: nn.Module, inputs: dict, num_items_in_batch: int | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Take a step; if the memory does not suffice, take it again with half the micro-batch and the same batch."""
        while True:
            sums, batches = dict(self._sums), self._batches
            try:
                return super().training_step(model, inputs, num_items_in_batch)
            except RuntimeError as error:
                if not memory.is_lacking(error) or not self._halve_micro_batch(len(next(iter(inputs.values())))):
                    raise
                if self.args.world_size > 1:  # others wait for this one: all must begin again
                    raise ShortOfMemoryError(self.model.micro_batch) from error
            self._sums, self._batches = sums, batches
            model.zero_grad()
            memory.release()

    def _halve_micro_batch(self, batch_size: int) -> bool:
        """Let half as many pairs through the model at a time; return whether that can be."""
        now = min(getattr(self.model, "micro_batch", 1) or batch_size, batch_size)
        if now == 1:
            return False
        self.model.micro_batch = math.ceil(now / 2)
        print(f"out of memory at step {self.state.global_step + 1}: micro_batch {self.model.micro_batch} from here on")
        return True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict,
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> torch.Tensor | tuple:
        """Return the loss; in evaluation the language-model loss alone, which all systems share."""
        outputs = model(**inputs)
        if not model.training:
            self._valid_loss += outputs["lm_loss"] * outputs["predicted_tokens"]
            self._valid_tokens += outputs["predicted_tokens"]
            return (outputs["lm_loss"], outputs) if return_outputs else outputs["lm_loss"]
        is_logged = (self.state.global_step + 1) % self.args.logging_steps == 0
        if self.gradient_cosine and is_logged and "contrastive_loss" in outputs:
            self._cosine = self._gradient_cosine(outputs["lm_loss"], outputs["contrastive_loss"])
        for name, value in outputs.items():
            if name not in ("loss", "predicted_tokens"):
                self._sums[name] = self._sums.get(name, 0) + value.detach()
        self._batches += 1
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def _gradient_cosine(self, *parts: torch.Tensor) -> float:
        """Return the cosine between the gradients of two losses, over the weights that both reach."""
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        options = {"retain_graph": True, "allow_unused": True}
        pairs = zip(*(torch.autograd.grad(part, weights, **options) for part in parts), strict=True)
        shared = [pair for pair in pairs if pair[0] is not None and pair[1] is not None]
        one, other = (torch.cat([each.flatten().float() for each in side]) for side in zip(*shared, strict=True))
        return float(torch.cosine_similarity(one, other, dim=0))

    def evaluate(self, *args: object, **kwargs: object) -> dict[str, float]:
        """Evaluate without a trace in the training's random numbers and speed."""
        started, self._valid_loss, self._valid_tokens = time.perf_counter(), 0.0, 0
        with torch.random.fork_rng():
            metrics = super().evaluate(*args, **kwargs)
        self._since += time.perf_counter() - started
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means since the last call, and the speed, to what the Trainer logs."""
        if "loss" in logs:
            everywhere = {name: losses.gathered(total[None]) for name, total in self._sums.items()}
            tokens = float(everywhere.pop("tokens").sum())
            logs |= {name: float(totals.mean()) / self._batches for name, totals in everywhere.items()}
            if self.gradient_cosine and "contrastive_loss" in logs:
                logs["gradient_cosine"] = self._cosine
            self.tokens += tokens
            logs["tokens_per_second"] = tokens / (time.perf_counter() - self._since)
            self._reset_sums()
        if "eval_loss" in logs:  # the Trainer's own is a mean over sentences, short ones counting as much as long ones
            logs["eval_loss"] = float(self._valid_loss / self._valid_tokens)
        super().log(logs, start_time)

    def diverged(self) -> bool:
        """Tell whether a logged loss or, where none was logged since, a weight is no longer finite."""
        found = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        weights_are_finite = all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters())
        return not (weights_are_finite and all(map(math.isfinite, found)))

    def history(self) -> list[dict]:
        """Return a row per logged step: loss and its parts, learning rate, speed and, now and then, valid_loss."""
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
