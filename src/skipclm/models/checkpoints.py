"""Saving and loading of model folders: Hugging Face folders with model, tokenizer and a provenance record."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging

from skipclm.data.examples import Prompt
from skipclm.errors import InputError
from skipclm.models import loading, modeling
from skipclm.runtime import atomic, provenance

logging.disable_progress_bar()  # keeps progress bars of loading out of the logs

# The tokenizer class that uses tokenizer.json as it is, by its current and its former name.
GENERIC_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, record: dict) -> None:
    """Save a model, its tokenizer and its record; models loaded from the folder generate by greedy search."""
    model.generation_config = greedy_generation(Prompt.of(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    atomic.write_json(Path(folder) / provenance.RECORD, record)


def greedy_generation(prompt: Prompt) -> GenerationConfig:
    """Return the generation config for translation: greedy search without the penalties of the checkpoint."""
    return GenerationConfig(eos_token_id=prompt.end, pad_token_id=prompt.pad, do_sample=False, num_beams=1)


def load(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer; the model is on the accelerator if there is one.

    Raises an `InputError` if one of them cannot be loaded.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return loading.load(folder).to(device), load_tokenizer(folder)


def load_tokenizer(folder: str | Path, **options: object) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or hub id; `options` are passed to `from_pretrained`.

    Raises an `InputError` if the tokenizer is missing or cannot be loaded.
    """
    try:
        tokenizer = _tokenizer_class(folder, **options).from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # broken files raise errors of many types
        raise InputError(
            f"{folder}: expected a tokenizer beside the model, but {loading.loading_fault(error)}"
        ) from error
    # For some models, such as XGLM, transformers creates an empty tokenizer if the files are missing.
    if set(tokenizer("a", add_special_tokens=False)["input_ids"]) <= {tokenizer.unk_token_id}:
        raise InputError(
            f"{folder}: expected a tokenizer beside the model, found one without letters; save the tokenizer there"
        )
    return tokenizer


def _tokenizer_class(folder: str | Path, **options: object) -> type:
    """Return the class to load a tokenizer with: the generic class if the folder names it, otherwise `AutoTokenizer`.

    For some architectures, such as Qwen2, `AutoTokenizer` would replace the generic class by the architecture's class,
    which ignores how tokenizer.json splits text.
    """
    name = get_tokenizer_config(folder, **options).get("tokenizer_class")
    return PreTrainedTokenizerFast if name in GENERIC_CLASSES else AutoTokenizer


def read_context(folder: str | Path) -> int | None:
    """Return the context length of the model in a folder, in tokens; None if its configuration has no limit."""
    return modeling.context_of(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def read_record(folder: str | Path) -> dict:
    """Return the record of a model folder; empty if skipclm did not write the folder."""
    path = Path(folder) / provenance.RECORD
    return atomic.read_record(path) if path.exists() else {}
