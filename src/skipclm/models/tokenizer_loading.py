"""Load tokenizers from folders and the hub; no torch is needed for those of the generic class."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from skipclm.errors import InputError

# The tokenizer class that uses tokenizer.json as it is, by its current and its former name.
GENERIC_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")


def load_tokenizer(folder: str | Path, **options: object) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or hub id; `options` are passed to `from_pretrained`.

    Raises an `InputError` if the tokenizer is missing or cannot be loaded.
    """
    try:
        tokenizer = _tokenizer_class(folder, **options).from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # broken files raise errors of many types
        raise InputError(f"{folder}: expected a tokenizer beside the model, but {loading_fault(error)}") from error
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
    file = Path(folder) / "tokenizer_config.json"
    if file.is_file():
        config = json.loads(file.read_text(encoding="utf-8"))
    else:  # a hub id, or a folder without this file
        from transformers.models.auto.tokenization_auto import get_tokenizer_config

        config = get_tokenizer_config(folder, **options)
    if config.get("tokenizer_class") in GENERIC_CLASSES:
        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer  # imports torch, which takes two seconds

    return AutoTokenizer


def loading_fault(error: Exception) -> str:
    """Return why a model or tokenizer cannot be loaded, and what to do.

    The advice in some messages of transformers, such as `trust_remote_code=True`, does not apply here.
    """
    message = " ".join(str(error).split())
    if "trust_remote_code" in message or "custom code" in message:
        return "it requires custom code, which skipclm does not run; choose a model that transformers supports"
    if "weights_only" in message or "Unpickl" in type(error).__name__ or "torch.load" in message:
        return (
            "its weights are a pickle file, which may run code and is not read; if you trust its source, convert it to "
            "safetensors with the library that wrote it"
        )
    return f"it cannot be loaded: {message}"
