"""Load decoders from folders and the hub; no code that lies there is run."""

import re
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from skipclm.errors import InputError
from skipclm.models.decoders import find_blocks, find_stack
from skipclm.models.modeling import decoder_of


def load(folder: str | Path, **options: object) -> PreTrainedModel:
    """Load a decoder, with or without a skip, from a folder or the hub; no code that lies there is run.

    `options` go to `from_pretrained`. Raises an `InputError` where there is no decoder to load, or not a whole one.
    """
    try:
        # The checkpoint's own number format would be kept otherwise; training wants full precision.
        options = {"dtype": torch.float32, "output_loading_info": True, "trust_remote_code": False} | options
        model, loaded = AutoModelForCausalLM.from_pretrained(folder, **options)
    except Exception as error:  # each reader of a broken file has errors of its own
        raise InputError(f"{folder}: expected a Hugging Face decoder, but {loading_fault(error)}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise InputError(
            f"{folder}: expected weights for the whole model, found none for {_some(missing)}; correct config.json, or "
            "save the model anew"
        )
    try:
        find_stack(decoder_of(model))
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error
    _check_unused(folder, model, sorted(loaded["unexpected_keys"]))
    _set_passes(folder, decoder_of(model))
    return model


def _set_passes(folder: str | Path, decoder: PreTrainedModel) -> None:
    """Have forward passes run every block and return states under their names, whatever config.json says."""
    for config in (decoder.config, decoder.config.get_text_config()):
        config.return_dict, config.output_hidden_states, config.output_attentions = True, False, False
        if getattr(config, "layerdrop", 0):
            print(f"warning: {folder}: layerdrop {config.layerdrop} is set to 0; every layer is used", file=sys.stderr)
            config.layerdrop = 0.0
    for module in decoder.modules():
        if getattr(module, "layerdrop", 0):
            module.layerdrop = 0.0


def loading_fault(error: Exception) -> str:
    """Say why a model or tokenizer cannot be loaded, and what to do: libraries give advice that does not apply here."""
    said = " ".join(str(error).split())
    if "trust_remote_code" in said or "custom code" in said:
        return "it needs code of its own, which skipclm does not run; choose a model that transformers has the code of"
    if "weights_only" in said or "Unpickl" in type(error).__name__ or "torch.load" in said:
        return (
            "its weights are a pickle that may run code, and are not read; save them as safetensors with the library "
            "that wrote them, if you trust where they are from"
        )
    return f"it cannot be loaded: {said}"


def _check_unused(folder: str | Path, model: PreTrainedModel, unused: list[str]) -> None:
    """Raise an `InputError` for weights of blocks that the model lacks; print which other weights are not used."""
    path = find_stack(decoder_of(model))[0]
    numbers = [re.search(rf"(?:^|\.){re.escape(path.rpartition('.')[2])}\.(\d+)\.", name) for name in unused]
    depth = len(find_blocks(decoder_of(model)))
    if blocks := {int(match[1]) for match in numbers if match and int(match[1]) >= depth}:
        raise InputError(
            f"{folder}: expected the weights of {depth} blocks, as config.json says, found those of "
            f"{max(blocks) + 1}; correct num_hidden_layers, or save the model anew"
        )
    if unused:
        print(f"warning: {folder}: weights that the model does not use: {_some(unused)}", file=sys.stderr)


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
