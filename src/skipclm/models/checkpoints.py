"""Saving and loading of model folders: Hugging Face folders with model, tokenizer and a provenance record."""

from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from skipclm.data.examples import Prompt
from skipclm.models import loading
from skipclm.models.tokenizer_loading import load_tokenizer
from skipclm.runtime import atomic, provenance

logging.disable_progress_bar()  # keeps progress bars of loading out of the logs


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


def read_record(folder: str | Path) -> dict:
    """Return the record of a model folder; empty if skipclm did not write the folder."""
    path = Path(folder) / provenance.RECORD
    return atomic.read_record(path) if path.exists() else {}
