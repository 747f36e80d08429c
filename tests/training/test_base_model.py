"""Base models: trained from scratch, loaded from a folder, and random ones; checks of their weights."""

import contextlib
import json
import os
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    XGLMForCausalLM,
)

from skipclm.errors import InputError
from skipclm.models import checkpoints
from skipclm.models.decoders import find_blocks
from skipclm.models.modeling import SkipCLMForCausalLM
from skipclm.training import base_model

SCRATCH = {
    "layers": 3,
    "width": 16,
    "heads": 2,
    "vocabulary": 330,
    "steps": 20,
    "batch_tokens": 256,
    "learning_rate": 1e-2,
    "seed": 1,
    "share": {"de": 0.5},
}


# Single sentences


def test_sample_takes_a_share_of_the_distinct_sentences():
    sentences = [f"sentence {i}" for i in range(10)]
    sampled = base_model.sample(sentences * 3, 0.4, seed=1)
    assert len(sampled) == len(set(sampled)) == 4
    assert set(sampled) < set(sentences)
    assert sorted(base_model.sample(sentences, 1.0, seed=1)) == sentences
    assert base_model.sample(sentences, 0.0, seed=1) == []


def test_sample_depends_on_seed_and_sentences_only():
    sentences = [f"sentence {i}" for i in range(10)]
    expected = sorted(sentences)  # the order of a set differs between processes
    random.Random(1).shuffle(expected)
    assert base_model.sample(sentences[::-1], 0.5, seed=1) == expected[:5]
    assert base_model.sample(sentences, 0.5, seed=1) != base_model.sample(sentences, 0.5, seed=2)


def test_small_sample_is_part_of_a_larger_one():
    sentences = [f"sentence {i}" for i in range(10)]
    assert base_model.sample(sentences, 0.6, seed=1)[:3] == base_model.sample(sentences, 0.3, seed=1)


def test_blocks_are_sentences_end_to_end(tokenizer):
    blocks = base_model.Blocks(tokenizer, ["one two", "three"] * 60)
    stream = [*tokenizer("one two")["input_ids"], *tokenizer("three")["input_ids"]] * 60
    # two sentences have five tokens including two </s>: 300 tokens are two blocks of 128 and 44 unused tokens
    assert len(stream) == 300
    assert len(blocks) == 2
    assert blocks[0]["input_ids"].tolist() + blocks[1]["labels"].tolist() == stream[:256]


# From scratch


@pytest.fixture
def texts(pairs):
    return dict(zip(("en", "de"), pairs, strict=True))


@pytest.fixture
def scratch(texts, tmp_path):
    """A function that trains a base model; `changes` go to the settings."""
    return lambda **changes: base_model.from_scratch(texts, SCRATCH | changes, tmp_path)


def _weights(model):
    return torch.cat([weight.detach().cpu().flatten() for weight in model.parameters()])


def test_model_has_the_requested_sizes(scratch):
    model, tokenizer, _ = scratch(steps=1)
    assert type(model) is XGLMForCausalLM
    assert (model.config.num_hidden_layers, model.config.d_model, model.config.attention_heads) == (3, 16, 2)
    assert model.config.vocab_size == len(tokenizer) == 330
    assert not model.training
    special = (model.config.bos_token_id, model.config.pad_token_id, model.config.eos_token_id)
    assert special == (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_model_learns_its_text(scratch):
    _, _, history = scratch(steps=100, width=32, vocabulary=400)
    losses = [row["loss"] for row in history]
    assert losses[0] > 4.0  # uniform probabilities over about 350 tokens cost 5.9 nats
    assert losses[-1] < 2.6  # the frequencies of the 21 tokens in use cost 2.8


def test_same_seed_gives_the_same_model(scratch):
    (one, one_tokenizer, one_rows), (other, other_tokenizer, other_rows) = scratch(), scratch()
    assert torch.equal(_weights(one), _weights(other))
    assert one_tokenizer.get_vocab() == other_tokenizer.get_vocab()
    assert [row["loss"] for row in one_rows] == [row["loss"] for row in other_rows]
    assert not torch.equal(_weights(one), _weights(scratch(seed=2)[0]))


def test_model_reads_each_language_by_its_share(scratch, texts, monkeypatch):
    class RecordingBlocks(base_model.Blocks):
        def __init__(self, encoder, sentences):
            self.read.extend(sentences)
            super().__init__(encoder, sentences)

    RecordingBlocks.read = read = []
    monkeypatch.setattr(base_model, "Blocks", RecordingBlocks)
    scratch(steps=1)
    assert [sum(sentence in texts[name] for sentence in read) for name in ("en", "de")] == [300, 150]
    assert read[:300] != sorted(read[:300], key=texts["en"].__contains__, reverse=True)  # the languages are mixed


def test_language_without_training_text_is_in_the_vocabulary(scratch):
    _, tokenizer, _ = scratch(steps=1, share={"de": 0.0})
    assert tokenizer.tokenize("fünf") == ["▁fünf"]


def test_saved_base_is_a_plain_transformers_model(tmp_path, scratch):
    model, tokenizer, _ = scratch(steps=2)
    checkpoints.save(model.cpu(), tokenizer, tmp_path / "base", {})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(_weights(loaded), _weights(model))
    assert loaded.config.model_type == "xglm"
    text = "sieben İ 学 😀"
    assert AutoTokenizer.from_pretrained(tmp_path / "base")(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_too_little_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least 256 tokens of text to train on, found 0"):
        base_model.from_scratch({"en": ["one two"]}, SCRATCH, tmp_path)


# From a folder


@pytest.fixture
def folder(tmp_path, new_decoder, tokenizer):
    """A folder with a model and its tokenizer, saved without this package."""
    new_decoder("llama").save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_folder_is_loaded_unchanged(folder, new_decoder, tokenizer):
    model, fetched_tokenizer = base_model.fetch(str(folder), None, None)
    assert torch.equal(_weights(model), _weights(new_decoder("llama")))
    assert fetched_tokenizer("acht one")["input_ids"] == tokenizer("acht one")["input_ids"]


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert base_model.fetch("~/llama", None, 4)[0].config.model_type == "llama"


def test_unexpected_depth_is_refused(folder):
    with pytest.raises(InputError, match=r"model\.layers: expected 4, the depth of .*; found 24"):
        base_model.fetch(str(folder), None, 24)


def test_broken_weights_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be loaded"):
        base_model.fetch(str(folder), None, None)


def test_model_with_a_skip_is_no_base(folder, new_decoder):
    SkipCLMForCausalLM.around(new_decoder("llama"), 1, 3).save_pretrained(folder)
    with pytest.raises(InputError, match="expected a plain decoder"):
        base_model.fetch(str(folder), None, 4)


def test_diverging_training_from_scratch_is_refused(scratch):
    with pytest.raises(InputError, match="lower it"):
        scratch(steps=12, learning_rate=1e30)


@pytest.mark.parametrize("architecture", ["xglm", "gpt2", "llama"])
def test_folder_without_tokenizer_is_refused(tmp_path, new_decoder, architecture):
    new_decoder(architecture).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a tokenizer beside the model"):
        base_model.fetch(str(tmp_path), None, None)


def test_model_that_is_not_a_decoder_is_refused(tmp_path, tokenizer):
    config = T5Config(vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a Hugging Face decoder"):
        base_model.fetch(str(tmp_path), None, None)


def test_model_that_is_not_causal_is_refused(tmp_path, tokenizer):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model("bert", vocab_size=len(tokenizer), **sizes)
    checkpoints.save(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path, {})
    with pytest.raises(InputError, match=r"model\.source: expected a causal decoder, found one of type bert"):
        base_model.fetch(str(tmp_path), None, None)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="missing: expected a Hugging Face decoder"):
        base_model.fetch(str(tmp_path / "missing"), None, None)


def test_no_sentences_give_no_blocks(tokenizer):
    assert len(base_model.Blocks(tokenizer, [])) == 0


def test_special_tokens_in_a_text_are_text(tokenizer):
    blocks = base_model.Blocks(tokenizer, ["one </s> two"] * 128)
    assert sum(row["input_ids"].tolist().count(2) for row in blocks) <= 128


def test_tokenizer_must_fit_the_model(tmp_path, new_decoder, tokenizer):
    decoder = new_decoder()
    decoder.resize_token_embeddings(100)
    checkpoints.save(decoder, tokenizer, tmp_path, {})
    with pytest.raises(
        InputError, match=rf"model\.source: expected an embedding for each of .* up to {len(tokenizer) - 1}, found 100"
    ):
        base_model.fetch(str(tmp_path), None, None)


# Any architecture, untrained


@pytest.mark.parametrize(
    "architecture", ["xglm", "gpt2", "bloom", "opt", "llama", "mistral", "qwen3", "gemma2", "gemma3", "cohere"]
)
def test_random_decoder_has_the_requested_sizes(architecture):
    model, encoder = base_model.untrained(architecture, ["one two three"] * 5, 3, 16, 2, 300, seed=1)
    assert len(find_blocks(model)) == 3
    assert model.get_input_embeddings().weight.shape == (len(encoder), 16)
    assert sum(weight.numel() for weight in find_blocks(model).parameters()) < 60_000


def test_random_decoder_depends_only_on_the_seed():
    one, same, other = (base_model.untrained("llama", ["one two"], 2, 16, 2, 300, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize("architecture", ["t5", "bert-like", ""])
def test_random_model_of_another_kind_is_refused(architecture):
    with pytest.raises(InputError, match="expected a decoder's model_type"):
        base_model.untrained(architecture, ["one two"], 2, 16, 2, 300, 1)


def test_width_must_fit_the_number_of_heads():
    with pytest.raises(InputError, match="a multiple of 6, twice the 3 heads, found 16"):
        base_model.untrained("llama", ["one two"], 2, 16, 3, 300, 1)


@pytest.mark.parametrize(("architecture", "reason"), [("gptj", "The size of tensor"), ("bert", "a causal decoder")])
def test_architecture_that_cannot_have_these_sizes_is_refused(architecture, reason):
    message = f"expected an architecture that can be made by these sizes, but {architecture}: .*{reason}"
    with pytest.raises(InputError, match=message):
        base_model.untrained(architecture, ["one two"], 2, 16, 2, 300, 1)


# Checks of weights and tokenizer


def _saved(decoder, tokenizer, folder):
    checkpoints.save(decoder, tokenizer, folder, {})
    return folder


def _refused(folder):
    with pytest.raises(InputError) as caught:
        base_model.fetch(str(folder), None, None)
    assert "trust_remote_code" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan_or_infinity_are_named(new_decoder, tokenizer, tmp_path, value):
    decoder = new_decoder("llama")
    decoder.model.layers[2].mlp.up_proj.weight.data[0, 0] = value
    message = _refused(_saved(decoder, tokenizer, tmp_path / "base"))
    assert "found others in model.layers.2.mlp.up_proj.weight" in message


def test_nan_in_a_buffer_is_named(tokenizer, tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
    config = AutoConfig.for_model("dots1", vocab_size=len(tokenizer), first_k_dense_replace=0, **sizes)
    decoder = AutoModelForCausalLM.from_config(config)
    decoder.model.layers[1].mlp.gate.e_score_correction_bias[2] = float("nan")
    message = _refused(_saved(decoder, tokenizer, tmp_path / "base"))
    assert "found others in model.layers.1.mlp.gate.e_score_correction_bias" in message


def test_logits_that_are_not_finite_are_refused(new_decoder, tokenizer, tmp_path):
    decoder = new_decoder("llama")
    decoder.model.layers[0].mlp.down_proj.weight.data.fill_(3e38)
    decoder.model.layers[1].input_layernorm.weight.data.fill_(3e38)
    assert "expected logits that are finite numbers" in _refused(_saved(decoder, tokenizer, tmp_path / "base"))


def test_second_embedding_that_is_too_small_is_refused(tokenizer, tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 2, "head_dim": 16, "hidden_size_per_layer_input": 8}
    for rows in (len(tokenizer) - 1, len(tokenizer)):
        options = {"vocab_size_per_layer_input": rows, "vocab_size": len(tokenizer), "pad_token_id": 1}
        decoder = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma4_text", **sizes, **options))
        folder = _saved(decoder, tokenizer, tmp_path / str(rows))
        if rows < len(tokenizer):
            assert f"it fails at number {len(tokenizer) - 1}" in _refused(folder)
        else:
            base_model.fetch(str(folder), None, None)


@pytest.mark.parametrize("context", [8, 15])
def test_model_with_a_tiny_context_is_refused(tokenizer, tmp_path, context):
    config = AutoConfig.for_model(
        "gpt2", vocab_size=len(tokenizer), n_positions=context, n_embd=32, n_layer=2, n_head=2
    )
    folder = _saved(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path / "base")
    assert f"at least 16 tokens, found one that reads {context}" in _refused(folder)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "xglm"])
def test_weights_of_more_blocks_than_the_configuration_has_are_refused(new_decoder, tokenizer, tmp_path, architecture):
    folder = _saved(new_decoder(architecture), tokenizer, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    key = next(key for key in ("num_hidden_layers", "n_layer", "num_layers") if key in config)
    (folder / "config.json").write_text(json.dumps(config | {key: 3}), encoding="utf-8")
    assert "expected the weights of 3 blocks, as in config.json, found those of 4" in _refused(folder)


def test_unused_weights_cause_a_warning(new_decoder, tokenizer, tmp_path, capsys):
    folder = _saved(new_decoder("llama"), tokenizer, tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"vision.weight": torch.zeros(2)}, folder / "model.safetensors", {"format": "pt"})
    base_model.fetch(str(folder), None, None)
    assert "weights that the model does not use: vision.weight" in capsys.readouterr().err


def test_token_id_without_an_embedding_is_refused(new_decoder, tokenizer, tmp_path):
    folder = _saved(new_decoder("llama"), tokenizer, tmp_path / "base")
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    rows = len(tokenizer)
    vocabulary = state["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    vocabulary[last] = rows + 3
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    message = _refused(folder)
    assert f"numbered up to {rows + 3}, found {rows}" in message


# Code in model folders


OWN_CODE = "print('the code ran'); raise SystemExit(3)"


def _with_own_code(folder, part, **settings):
    existing = json.loads((folder / part).read_text(encoding="utf-8"))
    (folder / part).write_text(json.dumps(existing | settings), encoding="utf-8")
    (folder / "own.py").write_text(OWN_CODE, encoding="utf-8")
    return folder


def test_code_of_a_model_is_never_run(new_decoder, tokenizer, tmp_path, capsys):
    auto_map = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "own.Own")
    folder = _saved(new_decoder("llama"), tokenizer, tmp_path / "base")
    message = _refused(_with_own_code(folder, "config.json", model_type="own", auto_map=auto_map))
    assert "it requires custom code, which skipclm does not run" in message
    assert "the code ran" not in capsys.readouterr().out


def test_architecture_of_transformers_is_used_instead_of_the_models_code(new_decoder, tokenizer, tmp_path, capsys):
    folder = _saved(new_decoder("llama"), tokenizer, tmp_path / "base")
    _with_own_code(folder, "config.json", auto_map={"AutoModelForCausalLM": "own.Own"})
    model, _ = base_model.fetch(str(folder), None, None)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert "the code ran" not in capsys.readouterr().out


def test_code_of_a_tokenizer_is_never_run(new_decoder, tokenizer, tmp_path, capsys):
    settings = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    folder = _with_own_code(
        _saved(new_decoder("llama"), tokenizer, tmp_path / "base"), "tokenizer_config.json", **settings
    )
    with contextlib.suppress(InputError):
        base_model.fetch(str(folder), None, None)
    assert "the code ran" not in capsys.readouterr().out


def test_pickle_that_may_run_code_is_refused(new_decoder, tokenizer, tmp_path):
    folder = _saved(new_decoder("llama"), tokenizer, tmp_path / "base")
    (folder / "model.safetensors").unlink()
    torch.save({"model": os.system}, folder / "pytorch_model.bin")
    message = _refused(folder)
    assert "its weights are a pickle file, which may run code and is not read" in message
    assert "weights_only" not in message
