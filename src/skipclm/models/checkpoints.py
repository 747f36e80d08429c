"""Model folders: an ordinary Hugging Face folder with the tokenizer and a record of how it was made."""

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

logging.disable_progress_bar()  # loading takes no time worth a bar in a log

# Classes of tokenizers that are what tokenizer.json says, by their present and their former name.
GENERIC_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, record: dict) -> None:
    """Save a model with its tokenizer and record; `from_pretrained` reads the folder, and `generate` is greedy."""
    model.generation_config = greedy_generation(Prompt.of(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    atomic.write_json(Path(folder) / provenance.RECORD, record)


def greedy_generation(prompt: Prompt) -> GenerationConfig:
    """Return the settings of generation that translation uses, whatever the checkpoint's own: greedy, no penalties."""
    return GenerationConfig(eos_token_id=prompt.end, pad_token_id=prompt.pad, do_sample=False, num_beams=1)


def load(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model, on the accelerator if there is one, and its tokenizer; raises an `InputError` if it cannot."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return loading.load(folder).to(device), load_tokenizer(folder)


def load_tokenizer(folder: str | Path, **options: object) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, `options` go to `from_pretrained`; raises an `InputError` if there is none."""
    try:
        tokenizer = _tokenizer_class(folder, **options).from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # a broken file ends in whatever its reader trips over
        raise InputError(
            f"{folder}: expected a tokenizer beside the model, but {loading.loading_fault(error)}"
        ) from error
    # Where its files are missing, transformers makes up an empty one for some models, XGLM among them.
    if set(tokenizer("a", add_special_tokens=False)["input_ids"]) <= {tokenizer.unk_token_id}:
        raise InputError(f"{folder}: expected a tokenizer beside the model, found one that knows no letter")
    return tokenizer


def _tokenizer_class(folder: str | Path, **options: object) -> type:
    """Return the class that reads a tokenizer.

    For some architectures, Qwen2 among them, `AutoTokenizer` takes the architecture's own class where the folder names
    a generic one, and that class splits the text in its own way, whatever tokenizer.json says.
    """
    name = get_tokenizer_config(folder, **options).get("tokenizer_class")
    return PreTrainedTokenizerFast if name in GENERIC_CLASSES else AutoTokenizer


def read_context(folder: str | Path) -> int | None:
    """Return how many tokens the model of a folder reads at most, None if its configuration names no limit."""
    return modeling.context_of(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def read_record(folder: str | Path) -> dict:
    """Return the record of a model folder, empty if it was not made here."""
    path = Path(folder) / provenance.RECORD
    return atomic.read_record(path) if path.exists() else {}
