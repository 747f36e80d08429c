"""Callbacks of the Trainer: progress, an early end after divergence, snapshots, the warm-up of the gate."""

import math
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.stateful import Stateful
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from skipclm.runtime import atomic, jobs
from skipclm.runtime.snapshots import Snapshots
from skipclm.training import losses


class Progress(TrainerCallback):
    """A progress bar with loss, learning rate and tokens per second on standard error, and a file for `status`.

    The file is a JSON object with `step`, `steps` and `loss`, which is null unless finite.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Open the bar."""
        if self.file is not None and state.is_world_process_zero:
            self.file.unlink(missing_ok=True)  # it may be from a training with other settings
        # In a log file, each refresh of the bar is a line. With one every two seconds, `tail -f` remains readable.
        self.bar = tqdm(total=state.max_steps, unit="step", mininterval=2.0, file=sys.stderr)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict | None = None,
        **kwargs: object,
    ) -> None:
        """Show the newest values."""
        formats = {"loss": "{:.3f}", "learning_rate": "{:.2e}", "tokens_per_second": "{:.0f}"}
        if "loss" in logs:  # not after a validation, and not at the end
            text = ", ".join(f"{name.replace('_', ' ')} {form.format(logs[name])}" for name, form in formats.items())
            self.bar.set_postfix_str(text, refresh=False)
            self._write(state, logs["loss"])
        self.bar.update(state.global_step - self.bar.n)

    def _write(self, state: TrainerState, loss: float) -> None:
        if self.file is None or not state.is_world_process_zero:
            return
        progress = {"step": state.global_step, "steps": state.max_steps, "loss": loss if math.isfinite(loss) else None}
        with suppress(OSError):  # the training does not depend on this file
            atomic.write_json(self.file, progress)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Show the last values and close the bar."""
        self.bar.refresh()
        self.bar.close()


class StopIfDiverged(TrainerCallback):
    """Stop a training if its loss is not finite, since it cannot recover."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict | None = None,
        **kwargs: object,
    ) -> None:
        """Check the newest loss."""
        if not math.isfinite(logs.get("loss", 0.0)):
            control.should_training_stop = True
            control.should_save = False  # a training that resumed here would take another step first


class SaveSnapshots(TrainerCallback):
    """Save a snapshot at intervals and after a signal, which also stops the training; all processes do so together.

    A snapshot holds the files of the Trainer and, for each process, the state of `loop`. Set `resumed` to the snapshot
    from which the Trainer resumes. `is_cut_short` tells whether a signal stopped the training before its last step.
    """

    def __init__(self, snapshots: Snapshots, loop: Stateful) -> None:
        self.snapshots, self.loop = snapshots, loop
        self.resumed: Path | None = None
        self.interval_seconds, self.last_saved = 60 * snapshots.minutes, time.monotonic()
        self.signal_received = self.is_cut_short = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Install signal handlers, and restore the state of the loop."""
        self.handlers_before = jobs.install_signal_handlers(self._end)
        if self.resumed:
            self.loop.load_state_dict(torch.load(self._state_file(self.resumed, args), map_location=args.device.type))

    def _state_file(self, snapshot: Path, args: TrainingArguments) -> Path:
        return snapshot / f"loop.{args.process_index}.pt"

    def _end(self, *_: object) -> None:
        self.signal_received = True
        jobs.record_signal()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Request a snapshot if it is due in any process."""
        events = [self.signal_received, time.monotonic() - self.last_saved >= self.interval_seconds]
        if args.world_size > 1:
            events = losses.gathered(torch.tensor([events], dtype=torch.int32, device=args.device)).any(dim=0).tolist()
        signal_received, is_due = events  # a signal that arrives after this line counts at the next step
        self.signal_received |= bool(signal_received)
        if signal_received or is_due:
            control.should_save, self.last_saved = True, time.monotonic()
        control.should_training_stop |= bool(signal_received)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Complete the snapshot that the Trainer has just saved."""
        snapshot = self.snapshots.folder / f"checkpoint-{state.global_step}"
        torch.save(self.loop.state_dict(), self._state_file(snapshot, args))
        args.distributed_state.wait_for_everyone()
        if args.should_save:
            self.snapshots.seal(snapshot)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Restore the signal handlers; from here on, a signal does not discard a finished training."""
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)
        self.is_cut_short = self.signal_received and state.global_step < state.max_steps
        if not self.is_cut_short:
            jobs.finish()


class GateWarmup(TrainerCallback):
    """Raise the gate of a `warmup` skip linearly to one."""

    def __init__(self, gate: Tensor, steps: int) -> None:
        self.gate, self.steps = gate, steps

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Set the gate for the next step."""
        self.gate.fill_(min(1.0, state.global_step / self.steps))
