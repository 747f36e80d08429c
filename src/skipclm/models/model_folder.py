"""Checks of a folder with a Hugging Face decoder, before any job starts; they read files only, not the model."""

import json
import re
import struct
from pathlib import Path

from skipclm.data.placeholders import check_name
from skipclm.errors import InputError, naming

KEY = "model.source"
DEPTH_KEYS = ("num_hidden_layers", "num_layers", "n_layer")
LFS_POINTER = b"version https://git-lfs"
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def expand(source: str) -> Path:
    """Return the path of a model folder, with `~` expanded; raise an `InputError` if `~user` is unknown."""
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise InputError(f"{KEY}: expected a folder or a hub id, found {source!r}: {error}; correct it") from error


def is_folder(source: str) -> bool:
    """Return whether `source` is a folder rather than a hub id: an existing path, or not a valid hub id."""
    try:
        return expand(source).exists() or not HUB_ID.fullmatch(source)
    except OSError as error:  # the name is too long
        raise InputError(
            f"{KEY}: expected a folder or a hub id, found {source[:60]!r} ({error.strerror}); correct it"
        ) from error


def check(folder: Path) -> None:
    """Raise an `InputError` unless `folder` has the config, complete weights and tokenizer of a trainable decoder."""
    with naming(KEY):
        check_name(folder)
        problem = f"expected a folder with a Hugging Face decoder, found {folder}"  # the start of all messages
        _check_folder(folder, problem)
        settings = read_config(folder)
        _check_architecture(settings, problem)
        _check_adapter(folder, problem)
        _check_settings(settings, problem)
        _check_weights(folder, problem)
        if not any(any(folder.glob(name)) for name in ("tokenizer.json", "*.model", "vocab.*")):
            raise InputError(f"{problem}, which has no tokenizer (tokenizer.json); save the tokenizer beside the model")


def _check_folder(folder: Path, problem: str) -> None:
    """Raise an `InputError` unless the folder exists and has a config.json."""
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        remedy = "correct the path, or give a hub id such as facebook/xglm-564M"
        if folder.suffix == ".gguf":
            state, remedy = "is a GGUF file", "convert it to a folder with config.json and model.safetensors"
        raise InputError(f"{problem}, which {state}; {remedy}")
    if not (folder / "config.json").is_file():
        if any(folder.glob("*.gguf")):
            raise InputError(
                f"{problem}, which has only a GGUF file; convert it to a folder with config.json and model.safetensors"
            )
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{problem}, which has only an adapter; merge it into its base model (peft: merge_and_unload) and save "
                "the result"
            )
        raise InputError(f"{problem}, which has no config.json; give the folder that save_pretrained wrote")


def read_config(folder: Path) -> dict:
    """Return the settings in config.json; raise an `InputError` if it is not a JSON object."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {path}, found {error}; save the model again") from error
    if not isinstance(settings, dict):
        raise InputError(f"expected a JSON object in {path}, found another value; save the model again")
    return settings


def _text_settings(settings: dict) -> dict:
    """Return the settings of the decoder: `text_config` in multimodal models, otherwise all settings."""
    text_config = settings.get("text_config")
    return text_config if isinstance(text_config, dict) else settings


def _check_architecture(settings: dict, problem: str) -> None:
    """Raise an `InputError` if the architecture is not a causal language model."""
    names, is_multimodal = settings.get("architectures") or [], _text_settings(settings) is not settings
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{problem}, which has no list of names under architectures in config.json; save it again")
    endings = ("ForCausalLM", "LMHeadModel", *(["ForConditionalGeneration"] if is_multimodal else []))
    if not any(name.endswith(endings) for name in names):
        architecture = f"the architecture {', '.join(names)}" if names else "no architecture"
        raise InputError(
            f"{problem}, which has {architecture} in config.json; choose a model with an architecture named "
            "...ForCausalLM"
        )


def _check_adapter(folder: Path, problem: str) -> None:
    """Raise an `InputError` for an adapter in the folder: transformers would add it to the weights on loading."""
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{problem}, which has an adapter (adapter_config.json) beside the weights; on loading, transformers adds "
            "it to them: remove the adapter's files if it is merged already, or merge it first (peft: merge_and_unload)"
        )


def _check_settings(settings: dict, problem: str) -> None:
    """Raise an `InputError` for quantised weights, or if `layer_types` does not match the number of blocks."""
    if quantization := settings.get("quantization_config"):
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else "unknown"
        raise InputError(
            f"{problem}, which has quantised weights ({method}) that cannot be trained; give the model before "
            "quantisation"
        )
    text = _text_settings(settings)
    types, blocks = text.get("layer_types"), text.get("num_hidden_layers")
    if isinstance(types, list) and isinstance(blocks, int) and len(types) != blocks:
        raise InputError(
            f"{problem}, which lists {len(types)} layer_types for {blocks} blocks (num_hidden_layers) in config.json; "
            "correct it"
        )


def _check_weights(folder: Path, problem: str) -> None:
    """Raise an `InputError` if weights are missing or were not downloaded completely."""
    files = sorted([*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")])
    if not files:
        raise InputError(f"{problem}, which has no weights (model.safetensors); download or save them there")
    for path in (*files, *folder.glob("tokenizer.json"), *folder.glob("*.model")):
        with open(path, "rb") as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise InputError(f"{problem}, where {path.name} is a Git LFS pointer; fetch the file (git lfs pull)")
        if not start:
            raise InputError(f"{problem}, where {path.name} is empty; download or save it again")
    for path in files:
        if path.suffix == ".safetensors" and (fault := _safetensors_fault(path)):
            raise InputError(f"{problem}, where {path.name} {fault}; download or save it again")
    _check_shards(folder, problem)


def _safetensors_fault(path: Path) -> str | None:
    """Return what is wrong with a safetensors file, None if its size is correct.

    The file is the length of the header (8 bytes), the header, which gives the length of the weights, and the weights.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            return "is incomplete or not a safetensors file"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return "is not a safetensors file"
    expected_size = 8 + length + max(ends, default=0)
    return None if size == expected_size else f"has {size} bytes instead of {expected_size} as in its header"


def _check_shards(folder: Path, problem: str) -> None:
    """Raise an `InputError` if an index lists missing weight files, unless the weights are also in a single file."""
    for single in ("model.safetensors", "pytorch_model.bin"):
        path = folder / f"{single}.index.json"
        if (folder / single).is_file() or not path.is_file():
            continue
        try:
            names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{problem}, where {path.name} is not an index of weights; save it again") from error
        if missing := sorted(name for name in names if not (folder / str(name)).is_file()):
            raise InputError(f"{problem}, which lacks {missing[0]}, named in {path.name}; download it as well")


def depth(folder: Path) -> int:
    """Return the number of blocks according to config.json; raise an `InputError` if it has none of the keys."""
    with naming(KEY):
        settings = _text_settings(read_config(folder))
        for key in DEPTH_KEYS:
            if type(settings.get(key)) is int:
                return settings[key]
        raise InputError(
            f"expected the number of blocks in {folder}/config.json under {', '.join(DEPTH_KEYS)}, found none of them; "
            "choose a plain decoder, without a skip connection"
        )
