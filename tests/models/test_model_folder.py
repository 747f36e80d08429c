"""Model folders that cannot be used are refused by their files, with one line and a remedy."""

import json
import shutil

import pytest
from safetensors.torch import save_file
from torch import zeros

from skipclm.errors import InputError
from skipclm.models import checkpoints, model_folder


@pytest.fixture
def folder(new_decoder, tokenizer, tmp_path):
    """A folder with a complete decoder."""
    checkpoints.save(new_decoder("llama"), tokenizer, tmp_path / "base", {})
    model_folder.check(tmp_path / "base")
    return tmp_path / "base"


def refusal(folder):
    with pytest.raises(InputError) as caught:
        model_folder.check(folder)
    message = str(caught.value)
    assert message.startswith("model.source: expected ")
    assert "\n" not in message
    return message


def configure(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")


def test_adapter_next_to_the_weights_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert "remove the adapter's files if it is merged already" in refusal(folder)


def test_folder_with_only_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "config.json").unlink()
    assert "which has only an adapter; merge it into its base model" in refusal(folder)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq"])
def test_quantised_weights_are_refused(folder, method):
    configure(folder, quantization_config={"quant_method": method})
    assert f"which has quantised weights ({method}) that cannot be trained" in refusal(folder)


@pytest.mark.parametrize("part", [None, [], {"num_hidden_layers": 7}])
def test_depth_is_that_of_the_text_decoder(folder, part):
    configure(folder, text_config=part)
    assert model_folder.depth(folder) == (7 if part else 4)
    model_folder.check(folder)


@pytest.mark.parametrize("value", [True, "4", 4.0])
def test_depth_must_be_an_integer(folder, value):
    configure(folder, num_hidden_layers=value)
    with pytest.raises(InputError, match="expected the number of blocks"):
        model_folder.depth(folder)


@pytest.mark.parametrize("count", [3, 5])
def test_number_of_layer_types_must_be_the_depth(folder, count):
    configure(folder, layer_types=["full_attention"] * count)
    assert f"lists {count} layer_types for 4 blocks" in refusal(folder)
    configure(folder, layer_types=["full_attention"] * 4)
    model_folder.check(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_git_lfs_pointers_and_empty_files_are_refused(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8")
    assert f"where {name} is a Git LFS pointer; fetch the file" in refusal(folder)
    (folder / name).write_bytes(b"")
    assert f"where {name} is empty" in refusal(folder)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:5], lambda data: b"<html>" + data])
def test_incomplete_weights_are_refused(folder, change):
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    assert "where model.safetensors " in refusal(folder)


def test_index_with_missing_files_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "which lacks model-00002-of-00002.safetensors, named in model.safetensors.index.json" in refusal(folder)
    save_file({"b": zeros(2)}, folder / "model-00002-of-00002.safetensors")
    model_folder.check(folder)


def test_gguf_files_are_refused(folder, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "which is a GGUF file; convert it" in refusal(tmp_path / "model.gguf")
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "model.gguf").write_bytes(b"GGUF")
    assert "which has only a GGUF file; convert it" in refusal(folder)


def test_deeply_nested_config_json_is_refused(folder):
    (folder / "config.json").write_text("[" * 100_000, encoding="utf-8")
    assert "expected JSON in" in refusal(folder)


@pytest.mark.parametrize("source", ["~nosuchuser/x", "x" * 300, "./" + "y" * 300])
def test_names_that_cannot_be_paths_are_refused(source):
    with pytest.raises(InputError, match=r"model\.source: expected a folder or a hub id, found "):
        model_folder.is_folder(source)
