"""Check a folder with a Hugging Face decoder by its files alone, before any job starts."""

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
    """Return the path of a model folder; raise an `InputError` for the home folder of an unknown user."""
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise InputError(f"{KEY}: expected a folder or a hub id, found {source!r}: {error}; correct it") from error


def is_folder(source: str) -> bool:
    """Tell a model folder from a hub id: an existing path, or a name that no hub id can have."""
    try:
        return expand(source).exists() or not HUB_ID.fullmatch(source)
    except OSError as error:  # a name that is too long
        raise InputError(
            f"{KEY}: expected a folder or a hub id, found {source[:60]!r} ({error.strerror}); correct it"
        ) from error


def check(folder: Path) -> None:
    """Raise an `InputError` unless `folder` holds a whole decoder of transformers with its tokenizer."""
    with naming(KEY):
        check_name(folder)
        wanted = f"expected a folder with a Hugging Face decoder, found {folder}"
        _check_place(folder, wanted)
        settings = read_config(folder)
        _check_architecture(settings, wanted)
        _check_extras(folder, settings, wanted)
        _check_weights(folder, wanted)
        if not any(any(folder.glob(name)) for name in ("tokenizer.json", "*.model", "vocab.*")):
            raise InputError(f"{wanted}, which has no tokenizer (tokenizer.json); save the tokenizer beside the model")


def _check_place(folder: Path, wanted: str) -> None:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        remedy = "correct the path, or give a hub id such as facebook/xglm-564M"
        if folder.suffix == ".gguf":
            what, remedy = "is a GGUF file", "convert it to a folder with config.json and model.safetensors"
        raise InputError(f"{wanted}, which {what}; {remedy}")
    if not (folder / "config.json").is_file():
        if any(folder.glob("*.gguf")):
            raise InputError(
                f"{wanted}, which has a GGUF file alone; convert it to a folder with config.json and model.safetensors"
            )
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{wanted}, which has an adapter alone; merge it into its base model (peft: merge_and_unload) and save "
                "that"
            )
        raise InputError(f"{wanted}, which has no config.json; name the folder that save_pretrained wrote")


def read_config(folder: Path) -> dict:
    """Return what config.json says; raise an `InputError` if it is no JSON object."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {path}, found {error}; save the model anew") from error
    if not isinstance(settings, dict):
        raise InputError(f"expected a JSON object in {path}, found another value; save the model anew")
    return settings


def _text_settings(settings: dict) -> dict:
    """Return what config.json says of the decoder: a part of it where the model reads images, say, as well."""
    part = settings.get("text_config")
    return part if isinstance(part, dict) else settings


def _check_architecture(settings: dict, wanted: str) -> None:
    names, is_compound = settings.get("architectures") or [], _text_settings(settings) is not settings
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{wanted}, whose config.json has no list of names under architectures; save the model anew")
    # A model of several kinds of input names its decoder's part.
    endings = ("ForCausalLM", "LMHeadModel", *(["ForConditionalGeneration"] if is_compound else []))
    if not any(name.endswith(endings) for name in names):
        raise InputError(
            f"{wanted}, whose config.json names the architecture {', '.join(names) or 'nowhere'}; "
            "choose a model whose architecture is named ...ForCausalLM"
        )


def _check_extras(folder: Path, settings: dict, wanted: str) -> None:
    """Refuse what changes the model on loading, or keeps it from being trained."""
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{wanted}, which has an adapter (adapter_config.json) beside the weights; on loading, transformers adds "
            "it to them: remove the adapter's files if it is merged already, or merge it first (peft: merge_and_unload)"
        )
    if quantization := settings.get("quantization_config"):
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else "unknown"
        raise InputError(
            f"{wanted}, whose weights are quantised ({method}), and cannot be trained; name the model that is not"
        )
    text = _text_settings(settings)
    types, blocks = text.get("layer_types"), text.get("num_hidden_layers")
    if isinstance(types, list) and isinstance(blocks, int) and len(types) != blocks:
        raise InputError(
            f"{wanted}, whose config.json lists {len(types)} layer_types for {blocks} blocks (num_hidden_layers); "
            "correct it"
        )


def _check_weights(folder: Path, wanted: str) -> None:
    """Refuse weights that are absent, or that were not downloaded whole."""
    files = sorted([*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")])
    if not files:
        raise InputError(f"{wanted}, which has no weights (model.safetensors); download or save them there")
    for path in (*files, *folder.glob("tokenizer.json"), *folder.glob("*.model")):
        with open(path, "rb") as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise InputError(f"{wanted}, whose {path.name} is a pointer of Git LFS; fetch the file (git lfs pull)")
        if not start:
            raise InputError(f"{wanted}, whose {path.name} is empty; download or save it again")
    for path in files:
        if path.suffix == ".safetensors" and (fault := _safetensors_fault(path)):
            raise InputError(f"{wanted}, whose {path.name} {fault}; download or save it again")
    _check_shards(folder, wanted)


def _safetensors_fault(path: Path) -> str | None:
    """Say what is wrong with the size of a safetensors file: a number, a header of that length, and the weights."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            return "is cut off, or no safetensors file"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return "is no safetensors file"
    whole = 8 + length + max(ends, default=0)
    return None if size == whole else f"has {size} bytes where its header says {whole}"


def _check_shards(folder: Path, wanted: str) -> None:
    """Refuse an index of weights that names files which are not there, unless the weights are in one file."""
    for single in ("model.safetensors", "pytorch_model.bin"):
        path = folder / f"{single}.index.json"
        if (folder / single).is_file() or not path.is_file():
            continue
        try:
            names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{wanted}, whose {path.name} is no index of weights; save the model anew") from error
        if missing := sorted(name for name in names if not (folder / str(name)).is_file()):
            raise InputError(f"{wanted}, which lacks {missing[0]}, named in {path.name}; download it as well")


def depth(folder: Path) -> int:
    """Return the number of blocks that config.json says; raise an `InputError` if it says none."""
    with naming(KEY):
        settings = _text_settings(read_config(folder))
        for key in DEPTH_KEYS:
            if type(settings.get(key)) is int:
                return settings[key]
        raise InputError(
            f"expected the number of blocks in {folder}/config.json under {', '.join(DEPTH_KEYS)}, found none of them; "
            "choose a plain decoder, without a skip connection"
        )
