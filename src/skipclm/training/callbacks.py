"""What looks on while the Trainer trains: shows how far it is, stops it, saves its state, opens the gate."""

import math
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from skipclm.runtime import atomic, jobs
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
            self.file.unlink(missing_ok=True)  # of a training with other settings, perhaps
        # A bar in a log file is a line per refresh: one every two seconds can be followed with tail -f.
        self.bar = tqdm(total=state.max_steps, unit="step", mininterval=2.0, file=sys.stderr)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict | None = None,
        **kwargs: object,
    ) -> None:
        """Show the newest figures."""
        shown = {"loss": "{:.3f}", "learning_rate": "{:.2e}", "tokens_per_second": "{:.0f}"}
        if "loss" in logs:  # not after a validation, nor at the end
            text = ", ".join(f"{k.replace('_', ' ')} {v.format(logs[k])}" for k, v in shown.items())
            self.bar.set_postfix_str(text, refresh=False)
            self._write(state, logs["loss"])
        self.bar.update(state.global_step - self.bar.n)

    def _write(self, state: TrainerState, loss: float) -> None:
        if self.file is None or not state.is_world_process_zero:
            return
        progress = {"step": state.global_step, "steps": state.max_steps, "loss": loss if math.isfinite(loss) else None}
        with suppress(OSError):  # no training ends because nobody can see how far it is
            atomic.write_json(self.file, progress)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Show the last figures and close the bar."""
        self.bar.refresh()
        self.bar.close()


class StopIfDiverged(TrainerCallback):
    """End a training whose loss is no longer finite: it never comes back."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict | None = None,
        **kwargs: object,
    ) -> None:
        """Look at the newest loss."""
        if not math.isfinite(logs.get("loss", 0.0)):
            control.should_training_stop = True
            control.should_save = False  # what goes on from a snapshot takes a step before it looks


class SaveNow(TrainerCallback):
    """Save a snapshot every so many minutes, and when told to end, which then ends it; all processes together."""

    def __init__(self, minutes: float) -> None:
        self.seconds, self.saved = 60 * minutes, time.monotonic()
        self.is_ended = self.is_cut_short = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Listen for the signals."""
        self.before = jobs.install_signal_handlers(self._end)

    def _end(self, *_: object) -> None:
        self.is_ended = True
        jobs.told_to_end()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Ask for a snapshot if it is time."""
        found = [self.is_ended, time.monotonic() - self.saved >= self.seconds]
        if args.world_size > 1:
            found = losses.gathered(torch.tensor([found], dtype=torch.int32, device=args.device)).any(dim=0).tolist()
        is_ended, is_time = found  # by all; a signal that comes meanwhile is for the next step
        self.is_ended |= bool(is_ended)
        if is_ended or is_time:
            control.should_save, self.saved = True, time.monotonic()
        control.should_training_stop |= bool(is_ended)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Leave the signals to others; a training that is done is not lost by them."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.is_cut_short = self.is_ended and state.global_step < state.max_steps
        if not self.is_cut_short:
            jobs.finish()


class GateWarmup(TrainerCallback):
    """Raise the gate of a `warmup` skip linearly to one."""

    def __init__(self, gate: Tensor, steps: int) -> None:
        self.gate, self.steps = gate, steps

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Set the gate for the coming step."""
        self.gate.fill_(min(1.0, state.global_step / self.steps))
