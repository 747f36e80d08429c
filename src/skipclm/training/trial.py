"""A short trial of the base model before any training: one training step, saving, loading, translating.

It takes seconds and shows what an architecture does not support. Without it, such a problem could appear only after the
last training step. `base_trial` starts it.
"""

import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skipclm.config import runs
from skipclm.data.batching import Collator
from skipclm.data.examples import Examples, Prompt
from skipclm.errors import InputError
from skipclm.evaluation import decoding
from skipclm.models import checkpoints, decoders, modeling
from skipclm.runtime import atomic, jobs, memory
from skipclm.training import fine_tuning

WORDS = ["1", "2 2", "3", "4 4"]  # the text of a trial: a few tokens in any tokenizer
# Settings of a training with one step.
STEP = {"steps": 1, "batch_size": len(WORDS), "batch_tokens": None, "validations": 1, "log_every": 1, "processes": 1}
TOLERANCE = 1e-2  # relative difference of losses and of norms of gradients, in single precision
OFF = {"enabled": False}


def try_base(base: str | Path, config: dict) -> list[str]:
    """Train one step for each kind of run in an experiment, and save, load and translate with the result.

    `config` comes from `runs.trial_config`. Runs that differ only in layers or in numbers, such as the learning rate,
    are of one kind. Returns the names of the tried runs. Raises an `InputError` that says what failed.
    """
    with _as_input_error("the base model"):
        decoder, tokenizer = checkpoints.load(base)
        _check_states(decoder)
        _check_generation(decoder)
        pairs = Examples.encoded(tokenizer, WORDS, WORDS[::-1])
    tried: dict[str, dict] = {}
    for name, settings in runs.trial_settings(config, len(decoders.find_blocks(decoder))).items():
        short = _shorten(settings)
        if settings["training"]["enabled"] and short not in tried.values():
            tried[name] = short
    for name, settings in tried.items():
        with _as_input_error(name), tempfile.TemporaryDirectory(dir=Path(base).parent, prefix=".trial.") as folder:
            _try_run(base, settings, pairs, Path(folder), config["evaluation"])
    return list(tried)


def _shorten(settings: dict) -> dict:
    """Return the settings of a run with one step and small values."""
    short = deepcopy(settings)
    short["training"] |= {key: value for key, value in STEP.items() if key in short["training"]}
    for section, key in (("training", "learning_rate"), ("contrastive", "weight"), ("contrastive", "temperature")):
        if key in short[section]:
            short[section][key] = 1e-3
    return short


@contextmanager
def _as_input_error(name: str) -> Iterator[None]:
    """Turn errors of the block into an `InputError`, and print the traceback to the log."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except Exception as error:
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and memory.is_out_of_memory(error)):
            raise
        traceback.print_exc()
        cause = str(error).partition("\n")[0]
        raise InputError(
            f"{name}: expected a decoder that can be trained, saved, loaded and translated with, found that a trial of "
            f"one step fails ({type(error).__name__}: {cause}); choose another model, or disable what fails"
        ) from error


def _check_states(decoder: PreTrainedModel) -> None:
    """Raise an `InputError` unless the input and output of every block are states (batch, tokens, width)."""
    ids = torch.tensor([[5, 6, 7], [7, 6, 5]], device=decoder.device)
    width = decoder.config.get_text_config().hidden_size
    shapes: list[tuple] = []

    def record(block: object, inputs: tuple, named: dict, output: Tensor | tuple) -> None:
        shapes.append(tuple(decoders.input_of(inputs, named).shape))
        shapes.append(tuple(decoders.state_of(output).shape))

    blocks = decoders.find_blocks(decoder)
    handles = [block.register_forward_hook(record, with_kwargs=True) for block in blocks]
    with torch.inference_mode():
        decoder(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    if len(shapes) != 2 * len(blocks):
        raise InputError(f"expected that each of {len(blocks)} blocks runs once, found {len(shapes) // 2} runs")
    if unexpected := [shape for shape in shapes if shape != (2, 3, width)]:
        raise InputError(
            f"expected blocks with states of the shape (batch, tokens, {width}), found the shape {unexpected[0]}; this "
            "architecture cannot be used: choose another model"
        )


@torch.inference_mode()
def _check_generation(decoder: PreTrainedModel) -> None:
    """Raise an `InputError` unless generation has the same logits with and without a cache."""
    ids = torch.tensor([[5, 6, 7, 8]], device=decoder.device)
    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    options |= {"return_dict_in_generate": True, "output_logits": True, "attention_mask": torch.ones_like(ids)}
    with decoders.router_loss_omitted(decoder):
        cached, plain = (
            torch.cat(decoder.generate(ids, use_cache=use_cache, **options).logits) for use_cache in (True, False)
        )
    if not torch.allclose(cached, plain, rtol=0.0, atol=TOLERANCE * float(plain.std())):
        raise InputError(
            "expected a decoder that generates the same with its cache as without, found other logits; this "
            "architecture cannot be used with the installed transformers: choose another model"
        )


def _try_run(base: str | Path, settings: dict, pairs: Examples, folder: Path, options: dict) -> None:
    """Train one step, save, load and translate."""
    model, tokenizer = checkpoints.load(base)
    prompt = Prompt.of(tokenizer)
    _check_gradients(*checkpoints.load(base), settings, pairs)
    outcome = fine_tuning.train(model, prompt, settings, pairs, pairs, 1, folder / "trainer")
    if outcome.facts["status"] != "ok":
        raise InputError("expected a finite loss after one step, found that it is not; choose another model")
    trained = outcome.model.eval()
    if isinstance(trained, modeling.SkipCLMForCausalLM):
        with torch.no_grad():
            trained.skip.gate.fill_(0.5)
    checkpoints.save(trained, tokenizer, folder / "model", {})
    loaded, tokenizer = checkpoints.load(folder / "model")
    ids = Collator(prompt)([pairs[0]])["input_ids"].to(loaded.device)
    with torch.inference_mode():
        before, after = (model.eval()(input_ids=ids, use_cache=False).logits for model in (trained, loaded))
    if not torch.allclose(before, after, rtol=0.0, atol=TOLERANCE * float(before.std())):
        raise InputError("expected the same logits after saving and loading, found others; choose another model")
    decoding.translate(loaded, tokenizer, pairs.source[:2], progress=False, **options)


def _check_gradients(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: dict, examples: Examples
) -> None:
    """Raise an `InputError` unless loss and gradients are equal to those of the loss that transformers computes."""
    model, _ = fine_tuning.prepare(model, settings)
    batch = Collator(Prompt.of(tokenizer))([examples[i] for i in range(len(examples))])
    batch = {name: rows.to(model.device) for name, rows in batch.items()}
    mask = (torch.arange(batch["input_ids"].shape[1], device=model.device) < batch["length"][:, None]).long()
    inputs = {"input_ids": batch["input_ids"], "attention_mask": mask, "labels": batch["labels"]}
    expected_loss, expected_norms = _loss_and_norms(model, lambda: model(**inputs, use_cache=False).loss)
    loss, norms = _loss_and_norms(model, lambda: fine_tuning.Objective(model, OFF).eval()(**batch)["loss"])
    if abs(loss - expected_loss) > TOLERANCE * abs(expected_loss):
        raise InputError(
            f"expected the loss that transformers computes, {expected_loss:.4f}, found {loss:.4f}; this architecture "
            "adds something to its loss that skipclm does not know: choose another model"
        )
    largest = max(expected_norms.values(), default=0.0)
    for name, norm in expected_norms.items():
        if abs(norms[name] - norm) > TOLERANCE * (norm + 0.01 * largest):
            raise InputError(
                f"expected the gradients that transformers computes, found another one of {name}; this architecture "
                "cannot be trained by skipclm: choose another model"
            )


def _loss_and_norms(model: PreTrainedModel, compute_loss: Callable[[], Tensor]) -> tuple[float, dict[str, float]]:
    """Return a loss and the norm of the gradient of each trained weight; 0 for a weight without a gradient."""
    model.eval().zero_grad()
    loss = compute_loss()
    loss.backward()
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    norms = {name: 0.0 if weight.grad is None else float(weight.grad.norm()) for name, weight in weights.items()}
    model.zero_grad()
    return float(loss.detach()), norms


def main(folder: Path) -> None:
    """Do the trial that `trial.json` in the folder describes, and write the outcome to `outcome.json` in it."""
    jobs.end_with_parents(1)
    description = atomic.read_json(folder / "trial.json")
    try:
        outcome = {"tried": try_base(description["base"], description["config"])}
    except InputError as error:
        outcome = {"error": str(error)}
    atomic.write_json(folder / "outcome.json", outcome)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
