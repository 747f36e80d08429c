"""Load decoders from folders and the hub, without running custom code from there."""

import re
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from skipclm.errors import InputError
from skipclm.models.decoders import find_stack
from skipclm.models.modeling import decoder_of
from skipclm.models.tokenizer_loading import loading_fault


def load(folder: str | Path, **options: object) -> PreTrainedModel:
    """Load a decoder, with or without a skip connection, from a folder or the hub; custom code is not run.

    The weights are in float32, unless `options` has another dtype. `options` are passed to `from_pretrained`. Raises an
    `InputError` if there is no decoder, if it cannot be loaded, or if weights are missing.
    """
    try:
        # float32 for training; the default would be the dtype of the checkpoint.
        options = {"dtype": torch.float32, "output_loading_info": True, "trust_remote_code": False} | options
        model, loading_info = AutoModelForCausalLM.from_pretrained(folder, **options)
    except Exception as error:  # broken files raise errors of many types
        raise InputError(f"{folder}: expected a Hugging Face decoder, but {loading_fault(error)}") from error
    if missing := sorted(loading_info["missing_keys"]):
        raise InputError(
            f"{folder}: expected weights for the whole model, found none for {_shorten(missing)}; correct config.json, "
            "or save the model again"
        )
    decoder = decoder_of(model)
    try:
        find_stack(decoder)
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error
    _check_unused_weights(folder, decoder, sorted(loading_info["unexpected_keys"]))
    _override_settings(folder, decoder)
    return model


def _override_settings(folder: str | Path, decoder: PreTrainedModel) -> None:
    """Override settings of config.json that change the output type of forward passes, or that skip blocks."""
    for config in (decoder.config, decoder.config.get_text_config()):
        config.return_dict, config.output_hidden_states, config.output_attentions = True, False, False
        if getattr(config, "layerdrop", 0):
            print(f"warning: {folder}: layerdrop {config.layerdrop} is set to 0; every layer is used", file=sys.stderr)
            config.layerdrop = 0.0
    for module in decoder.modules():
        if getattr(module, "layerdrop", 0):
            module.layerdrop = 0.0


def _check_unused_weights(folder: str | Path, decoder: PreTrainedModel, names: list[str]) -> None:
    """Raise an `InputError` if unused weights belong to further blocks; print a warning for other unused weights."""
    path, blocks = find_stack(decoder)
    matches = [re.search(rf"(?:^|\.){re.escape(path.rpartition('.')[2])}\.(\d+)\.", name) for name in names]
    if further := {int(match[1]) for match in matches if match and int(match[1]) >= len(blocks)}:
        raise InputError(
            f"{folder}: expected the weights of {len(blocks)} blocks, as in config.json, found those of "
            f"{max(further) + 1}; correct num_hidden_layers, or save the model again"
        )
    if names:
        print(f"warning: {folder}: weights that the model does not use: {_shorten(names)}", file=sys.stderr)


def _shorten(names: list[str]) -> str:
    """Return the first three names, with an ellipsis if there are more."""
    return f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
