"""Blocks, heads, attention and caches of decoders of any architecture."""

import copy

import pytest
import torch
from helpers import logits_of, stack_of, states_of, trained_skip
from transformers import AutoConfig, AutoModelForCausalLM

from skipclm.data.batching import pad
from skipclm.models import decoders
from skipclm.models.decoders import Head, Recorder, find_blocks, find_stack, first_blocks, fuse_attention, share_lookup
from skipclm.training import base_model

# Blocks


def test_blocks_are_found(decoder):
    path, blocks = find_stack(decoder)
    assert blocks is stack_of(decoder) is decoder.get_submodule(path)
    assert find_blocks(decoder) is blocks


def test_model_without_blocks_is_refused_with_a_remedy(new_decoder):
    decoder = new_decoder()
    decoder.config.num_layers = 7
    with pytest.raises(ValueError, match=r"one list of 7 blocks, found none; add 'xglm' with the path of its blocks"):
        find_blocks(decoder)


def test_model_with_several_lists_needs_an_entry_in_the_table(new_decoder, monkeypatch):
    decoder = new_decoder()
    decoder.norms = torch.nn.ModuleList([torch.nn.LayerNorm(32) for _ in range(4)])
    with pytest.raises(
        ValueError, match=r"expected one list of 4 blocks, found (norms, model\.layers|model\.layers, norms)"
    ):
        find_blocks(decoder)
    monkeypatch.setitem(decoders.BLOCKS, "xglm", "model.layers")
    assert find_blocks(decoder) is decoder.model.layers


def test_entries_of_the_table_are_needed_and_correct():
    for kind, path in decoders.BLOCKS.items():
        with torch.device("meta"):
            decoder = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind))
        assert len(decoder.get_submodule(path)) != decoder.config.num_hidden_layers
        assert find_blocks(decoder) is decoder.get_submodule(path)


# Layers and their states


def _final_norm(decoder):
    names = (".layer_norm", ".ln_f", "model.norm", "final_layer_norm")
    return next(m for name, m in decoder.named_modules() if name.endswith(names) and "layers." not in name)


def test_recorder_stores_the_state_after_a_block(decoder, ids):
    expected = states_of(decoder, ids)
    for layer in (1, 2, 3):
        with Recorder(decoder, layer) as recorder:
            logits_of(decoder, ids)
        assert torch.equal(recorder.state, expected[layer])
        assert not torch.equal(recorder.state, expected[layer - 1])


def test_last_layer_is_the_state_before_the_final_norm(decoder, ids):
    with Recorder(decoder, 4) as recorder:
        logits_of(decoder, ids)
    assert not torch.equal(recorder.state, states_of(decoder, ids)[4])
    assert torch.equal(_final_norm(decoder)(recorder.state), states_of(decoder, ids)[4])


def test_recorder_removes_its_hooks(new_decoder, ids):
    decoder = new_decoder()
    with Recorder(decoder, 2) as recorder:
        logits_of(decoder, ids)
    state = recorder.state
    logits_of(decoder, ids + 1)
    assert recorder.state is state
    with Recorder(decoder, None) as recorder:
        logits_of(decoder, ids)
    assert recorder.state is None


def test_recorder_removes_its_hooks_after_an_error(new_decoder, ids):
    decoder = new_decoder()
    with pytest.raises(KeyError), Recorder(decoder, 2) as recorder:
        raise KeyError
    logits_of(decoder, ids)
    assert recorder.state is None


# First blocks


@pytest.mark.parametrize("count", [1, 2, 3])
def test_first_blocks_compute_the_state_of_the_full_model(decoder, ids, count):
    with Recorder(decoder, count) as recorder, torch.no_grad():
        first_blocks(decoder, count)(input_ids=ids, use_cache=False)
    assert torch.equal(recorder.state, states_of(decoder, ids)[count])
    assert len(find_blocks(decoder)) == 4


def test_first_blocks_run_only_those_blocks(decoder, ids):
    ran = []
    for number, block in enumerate(find_blocks(decoder), start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    with torch.no_grad():
        first_blocks(decoder, 2)(input_ids=ids, use_cache=False)
    assert ran == [1, 2]


def test_first_blocks_share_weights_and_skip(decoder, ids):
    model = trained_skip(decoder, 1, 2)
    with Recorder(decoder, 3) as recorder, torch.no_grad():
        first_blocks(decoder, 3)(input_ids=ids, use_cache=False)
    assert torch.equal(recorder.state, states_of(model, ids)[3])
    shared = {id(weight) for weight in decoder.parameters()}
    assert all(id(weight) in shared for weight in first_blocks(decoder, 3).parameters())


# Embeddings


def test_embeddings_are_computed_once_for_several_passes(decoder, ids):
    looked_up = []
    decoder.get_input_embeddings().register_forward_hook(lambda *call: looked_up.append(call[-1]))
    expected = [decoder.base_model(rows).last_hidden_state for rows in (ids, ids[:2, 3:])]
    looked_up.clear()
    copies = share_lookup(decoder, ids, ids[:2, 3:])
    assert len(looked_up) == 1
    for copied, rows, state in zip(copies, (ids, ids[:2, 3:]), expected, strict=True):
        torch.testing.assert_close(copied.base_model(rows).last_hidden_state, state)
    torch.testing.assert_close(decoder.base_model(ids).last_hidden_state, expected[0])  # the decoder is unchanged


def test_embeddings_computed_once_have_the_same_gradient(decoder, ids):
    weight = decoder.get_input_embeddings().weight
    gradients = []
    for pair in ([decoder, decoder], share_lookup(decoder, ids, ids[:2, 3:])):
        loss = sum(model(rows).logits.sum() for model, rows in zip(pair, (ids, ids[:2, 3:]), strict=True))
        gradients.append(torch.autograd.grad(loss, weight)[0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


# The head


def test_head_computes_the_logits_of_the_decoder(decoder, ids):
    with torch.no_grad():
        states = decoder.base_model(ids).last_hidden_state
        logits = Head(decoder)(states.flatten(0, 1))
        torch.testing.assert_close(logits, decoder(ids).logits.flatten(0, 1))
        doubled = Head(decoder)(2 * states[0])
    assert not torch.allclose(doubled, logits[: len(doubled)])  # the logits depend on the states


def test_head_scales_and_caps_like_the_decoder(new_decoder, ids):
    for architecture, undone in (("cohere", lambda x: x / 0.3), ("gemma2", lambda x: 2 * torch.atanh(x / 2))):
        decoder = new_decoder(architecture)
        with torch.no_grad():
            states = decoder.base_model(ids).last_hidden_state[0]
            plain = decoder.get_output_embeddings()(states)
            logits = Head(decoder)(states)
        assert not torch.allclose(logits, plain, atol=1e-2)
        uncapped = logits.abs() < 1.9  # capped logits cannot be recovered
        torch.testing.assert_close(undone(logits)[uncapped], plain[uncapped], rtol=1e-3, atol=1e-3)


def test_head_of_a_mixture_of_experts(ids):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model("mixtral", vocab_size=500, num_key_value_heads=2, **sizes)
    test_head_computes_the_logits_of_the_decoder(AutoModelForCausalLM.from_config(config).eval(), ids)


def test_head_may_use_attributes_of_its_body(ids):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    options = {"num_key_value_heads": 2, "mamba_d_ssm": 32, "mamba_n_heads": 2, "mamba_d_head": 16, "mamba_d_state": 8}
    config = AutoConfig.for_model("falcon_h1", vocab_size=500, lm_head_multiplier=3.0, **sizes, **options)
    decoder = AutoModelForCausalLM.from_config(config).eval()
    assert decoder.model.lm_head_multiplier == 3.0
    test_head_computes_the_logits_of_the_decoder(decoder, ids)


def test_head_lists_its_trainable_weights(new_decoder):
    decoder = new_decoder("llama", tied=False)
    assert [id(w) for w in Head(decoder).weights] == [id(decoder.lm_head.weight)]
    decoder.requires_grad_(False)
    assert Head(decoder).weights == []


# XGLM's attention


def _fused(decoder):
    fused = copy.deepcopy(decoder)
    fuse_attention(fused)
    return fused


@pytest.fixture
def batch(ids):
    """Left-padded rows of unequal length, and their mask."""
    rows = [ids[0, :3].tolist(), ids[1].tolist(), ids[2, :7].tolist()]
    return pad(rows, 1, left=True), pad([[1] * len(row) for row in rows], 0, left=True)


def test_fused_attention_computes_the_same(new_decoder, ids, batch):
    decoder, fused = new_decoder(), _fused(new_decoder())
    torch.testing.assert_close(logits_of(fused, ids), logits_of(decoder, ids), rtol=1e-4, atol=1e-4)
    padded, mask = batch
    with torch.no_grad():
        pair = [model(padded, attention_mask=mask).logits[mask.bool()] for model in (fused, decoder)]
    torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-4)


def test_fused_attention_has_the_same_gradients(new_decoder, ids):
    gradients = []
    for model in (new_decoder(), _fused(new_decoder())):
        model.train()(ids, labels=ids).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_fused_attention_has_dropout_only_in_training(new_decoder, ids):
    model = _fused(new_decoder())
    for block in find_blocks(model):
        block.self_attn.dropout = 0.5
    assert torch.equal(logits_of(model, ids), logits_of(model, ids))
    assert not torch.equal(logits_of(model.train(), ids), logits_of(model, ids))


@pytest.mark.parametrize("beams", [1, 2])
def test_fused_attention_generates_the_same(new_decoder, batch, beams):
    padded, mask = batch
    options = {"attention_mask": mask, "min_new_tokens": 12, "max_new_tokens": 12, "num_beams": beams}
    decoder = new_decoder()
    fused = _fused(decoder)
    expected = decoder.generate(padded, **options)
    assert torch.equal(fused.generate(padded, **options), expected)
    assert torch.equal(fused.generate(padded, **options, use_cache=False), expected)


def test_decoder_with_fused_attention_is_saved_unchanged(new_decoder, ids, tmp_path):
    fused = _fused(new_decoder())
    fused.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits_of(loaded, ids), logits_of(new_decoder(), ids))
    assert "sdpa" not in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_other_decoders_are_not_changed(decoder, ids):
    expected = logits_of(decoder, ids)
    fuse_attention(decoder)
    if decoder.config.model_type != "xglm":
        assert torch.equal(logits_of(decoder, ids), expected)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        *(("llama", True), ("gemma3_text", True), ("lfm2", True)),
        *(("recurrent_gemma", False), ("minimax", False), ("mamba", False), ("rwkv", False)),
    ],
)
def test_sortable_caches_are_recognised(architecture, expected, pairs):
    decoder, _ = base_model.untrained(architecture, pairs[0], 3, 32, 2, 400, 1)
    with torch.no_grad():
        for weight in decoder.parameters():
            if weight.ndim > 1:
                weight.mul_(3.0)
    assert decoders.has_reorderable_cache(decoder.eval()) == expected
