"""The skip connection does what its formula says around any decoder, and nothing before it is trained."""

import copy
import math

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from skipclm import modeling
from skipclm.errors import InputError
from skipclm.examples import pad
from skipclm.modeling import SkipCLMForCausalLM, first_blocks

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")


def _trained_skip(decoder, source=1, target=3, **skip):
    """Put a skip around `decoder` whose weights look trained."""
    model = SkipCLMForCausalLM.around(decoder, source, target, **skip).eval()
    with torch.no_grad():
        model.skip.gate.fill_(0.7)
        model.skip.linear.weight.normal_(std=0.3)
        model.skip.linear.bias.normal_(std=0.3)
    return model


def _logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


def _states(model, ids):
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states


# What a layer is


def _final_norm(decoder):
    return next(m for name, m in decoder.named_modules() if name.endswith((".layer_norm", ".ln_f", "model.norm")))


def test_recorder_remembers_the_state_after_a_block(decoder, ids):
    expected = _states(decoder, ids)
    for layer in (1, 2, 3):
        with modeling.Recorder(decoder, layer) as recorder:
            _logits(decoder, ids)
        assert torch.equal(recorder.state, expected[layer])
        assert not torch.equal(recorder.state, expected[layer - 1])


def test_last_layer_is_the_state_before_the_final_norm(decoder, ids):
    with modeling.Recorder(decoder, 4) as recorder:
        _logits(decoder, ids)
    assert not torch.equal(recorder.state, _states(decoder, ids)[4])
    assert torch.equal(_final_norm(decoder)(recorder.state), _states(decoder, ids)[4])


def test_recorder_forgets_the_model_at_the_end(new_decoder, ids):
    decoder = new_decoder()
    with modeling.Recorder(decoder, 2) as recorder:
        _logits(decoder, ids)
    state = recorder.state
    _logits(decoder, ids + 1)
    assert recorder.state is state
    with modeling.Recorder(decoder, None) as recorder:
        _logits(decoder, ids)
    assert recorder.state is None


def test_recorder_lets_go_after_an_error(new_decoder, ids):
    decoder = new_decoder()
    with pytest.raises(KeyError), modeling.Recorder(decoder, 2) as recorder:
        raise KeyError
    _logits(decoder, ids)
    assert recorder.state is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_first_blocks_reach_the_full_models_state(decoder, ids, count):
    with modeling.Recorder(decoder, count) as recorder, torch.no_grad():
        first_blocks(decoder, count)(input_ids=ids, use_cache=False)
    assert torch.equal(recorder.state, _states(decoder, ids)[count])
    assert len(modeling.find_blocks(decoder)) == 4


def test_first_blocks_run_no_more_than_those(decoder, ids):
    ran = []
    for number, block in enumerate(modeling.find_blocks(decoder), start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    with torch.no_grad():
        first_blocks(decoder, 2)(input_ids=ids, use_cache=False)
    assert ran == [1, 2]


def test_first_blocks_share_weights_and_skip(decoder, ids):
    model = _trained_skip(decoder, 1, 2)
    with modeling.Recorder(decoder, 3) as recorder, torch.no_grad():
        first_blocks(decoder, 3)(input_ids=ids, use_cache=False)
    assert torch.equal(recorder.state, _states(model, ids)[3])
    shared = {id(weight) for weight in decoder.parameters()}
    assert all(id(weight) in shared for weight in first_blocks(decoder, 3).parameters())


def test_blocks_are_found(decoder):
    assert len(modeling.find_blocks(decoder)) == 4


def test_model_without_blocks_is_refused(new_decoder):
    decoder = new_decoder()
    decoder.config.num_layers = 7
    with pytest.raises(InputError, match="expected a list of 7 blocks"):
        modeling.find_blocks(decoder)


# What the skip does


@pytest.mark.parametrize("gate", ["learned", "warmup"])
def test_fresh_skip_changes_no_bit(decoder, ids, gate):
    expected = _logits(decoder, ids)
    model = SkipCLMForCausalLM.around(decoder, 1, 3, skip_gate=gate)
    assert torch.equal(_logits(model, ids), expected)
    with torch.no_grad():
        model.skip.gate.fill_(0.01)
    assert not torch.equal(_logits(model, ids), expected)


def test_fresh_skip_changes_no_bit_in_half_precision(decoder, ids):
    decoder.bfloat16()
    expected = _logits(decoder, ids)
    logits = _logits(SkipCLMForCausalLM.around(decoder, 2, 4).bfloat16(), ids)
    assert logits.dtype == torch.bfloat16
    assert torch.equal(logits, expected)


ACTIVATIONS = {
    "gelu": lambda x: x / 2 * (1 + torch.erf(x / math.sqrt(2))),
    "relu": lambda x: x.clamp(min=0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: 1 - 2 / (1 + torch.exp(2 * x)),
    "linear": lambda x: x,
}


def _with_input(decoder, number, state, ids):
    """Return the logits if block `number` were given `state`; written without the package."""

    def replace(block, inputs, named):
        return ((state, *inputs[1:]), named) if inputs else ((), named | {"hidden_states": state})

    stack = decoder.transformer.h if hasattr(decoder, "transformer") else decoder.model.layers
    handle = stack[number - 1].register_forward_pre_hook(replace, with_kwargs=True)
    logits = _logits(decoder, ids)
    handle.remove()
    return logits


def _by_formula(decoder, skip, ids, activation, normalize):
    """Return the logits if the input of block t is h(t-1) + gate * activation(W h(s) + b)."""
    states, config = _states(decoder, ids), skip.config
    carried = states[config.skip_source]
    if normalize:
        spread = carried.var(dim=-1, unbiased=False, keepdim=True) + 1e-5
        carried = (carried - carried.mean(dim=-1, keepdim=True)) / spread.sqrt()
    with torch.no_grad():
        mapped = carried @ skip.skip.linear.weight.T + skip.skip.linear.bias
    target = config.skip_target
    return _with_input(decoder, target, states[target - 1] + 0.7 * ACTIVATIONS[activation](mapped), ids)


@pytest.mark.parametrize(("source", "target"), [(1, 2), (1, 4), (2, 3)])
def test_trained_skip_follows_its_formula(decoder, ids, source, target):
    plain = copy.deepcopy(decoder)
    model = _trained_skip(decoder, source, target)
    expected = _by_formula(plain, model, ids, "gelu", normalize=True)
    torch.testing.assert_close(_logits(model, ids), expected)
    assert (expected - _logits(plain, ids)).abs().max() > 0.05


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_and_normalization_are_those_asked_for(new_decoder, ids, activation, normalize):
    model = _trained_skip(new_decoder(), skip_activation=activation, skip_normalize=normalize)
    expected = _by_formula(new_decoder(), model, ids, activation, normalize)
    torch.testing.assert_close(_logits(model, ids), expected)


def test_fresh_skip_keeps_the_variance_and_the_gate_closed(new_decoder):
    skip = SkipCLMForCausalLM.around(new_decoder(), 1, 3).skip
    assert skip.linear.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)  # the width is 32
    assert not skip.linear.bias.any()
    assert skip.gate == 0


def test_gate_is_trained_or_set_as_asked(new_decoder):
    learned = SkipCLMForCausalLM.around(new_decoder(), 1, 3)
    warmed = SkipCLMForCausalLM.around(new_decoder(), 1, 3, skip_gate="warmup")
    assert "skip.gate" in dict(learned.named_parameters())
    assert "skip.gate" not in dict(warmed.named_parameters())
    assert "skip.gate" in warmed.state_dict()


def test_copy_has_a_skip_of_its_own(new_decoder, ids):
    model = _trained_skip(new_decoder())
    expected, copied = _logits(model, ids), copy.deepcopy(model)
    assert torch.equal(_logits(copied, ids), expected)
    with torch.no_grad():
        copied.skip.gate.zero_()
    assert torch.equal(_logits(copied, ids), _logits(new_decoder(), ids))
    assert torch.equal(_logits(model, ids), expected)


def test_copy_leaves_the_graph_of_the_last_pass_behind(new_decoder, ids):
    model = _trained_skip(new_decoder()).train()
    model(ids)
    assert torch.equal(_logits(copy.deepcopy(model).eval(), ids), _logits(model.eval(), ids))


@pytest.mark.parametrize(("source", "target"), [(0, 2), (2, 2), (3, 2), (1, 5)])
def test_skip_must_lead_upwards_within_the_model(new_decoder, source, target):
    with pytest.raises(InputError, match=f"1 <= source < target <= 4, found {source} and {target}"):
        SkipCLMForCausalLM.around(new_decoder(), source, target)


# What users do with a model


@pytest.mark.parametrize("gate", ["learned", "warmup"])
def test_saved_skip_comes_back_through_the_auto_class(tmp_path, decoder, ids, gate):
    model = _trained_skip(decoder, skip_gate=gate, skip_activation="tanh")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is SkipCLMForCausalLM
    assert torch.equal(_logits(loaded, ids), _logits(model, ids))
    assert loaded.skip.gate.item() == pytest.approx(0.7)
    tied = [m.get_output_embeddings().weight is m.get_input_embeddings().weight for m in (model, loaded)]
    assert tied[0] == tied[1]


def test_number_format_is_full_unless_asked_otherwise(tmp_path, new_decoder):
    _trained_skip(new_decoder()).bfloat16().save_pretrained(tmp_path)
    assert {weight.dtype for weight in modeling.load(tmp_path).parameters()} == {torch.float32}
    half = modeling.load(tmp_path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("beams", [1, 2])
def test_cache_changes_nothing(decoder, ids, beams):
    model = _trained_skip(decoder)
    options = {"attention_mask": torch.ones_like(ids), "min_new_tokens": 12, "max_new_tokens": 12, "num_beams": beams}
    with_cache = model.generate(ids, **options, use_cache=True)
    assert torch.equal(with_cache, model.generate(ids, **options, use_cache=False))
    model.skip.gate.data.zero_()
    assert not torch.equal(with_cache, model.generate(ids, **options))  # the skip had a say


def test_padding_on_the_left_changes_nothing(decoder, ids):
    model, rows = _trained_skip(decoder), [ids[0, :3].tolist(), ids[1].tolist(), ids[2, :7].tolist()]
    mask = pad([[1] * len(row) for row in rows], 0, left=True)
    options = {"min_new_tokens": 10, "max_new_tokens": 10}
    together = model.generate(pad(rows, 1, left=True), attention_mask=mask, **options)[:, -10:]
    alone = [
        model.generate(torch.tensor([row]), attention_mask=torch.ones(1, len(row)), **options)[:, -10:] for row in rows
    ]
    assert torch.equal(together, torch.cat(alone))


def _gradients(model, ids):
    model.train()
    model(ids, labels=ids, use_cache=False).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def test_gradient_checkpointing_changes_no_gradient(decoder, ids):
    model = _trained_skip(decoder)
    checkpointed = copy.deepcopy(model)
    checkpointed.gradient_checkpointing_enable()
    torch.testing.assert_close(_gradients(checkpointed, ids), _gradients(model, ids))


def test_logits_are_the_decoders_own(decoder, ids):
    with torch.no_grad():
        states = decoder.base_model(ids).last_hidden_state
        torch.testing.assert_close(modeling.logits_of(decoder, states), decoder(ids).logits)


def _small(config_class, **sizes):
    return config_class(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, **sizes
    )


def test_logits_are_scaled_as_cohere_does_it(ids):
    decoder = CohereForCausalLM(_small(CohereConfig, logit_scale=0.3)).eval()
    test_logits_are_the_decoders_own(decoder, ids % 300)


def test_logits_are_capped_as_gemma_does_it(ids):
    config = _small(Gemma2Config, head_dim=16, num_key_value_heads=1, final_logit_softcapping=0.01)
    decoder = Gemma2ForCausalLM(config).eval()
    test_logits_are_the_decoders_own(decoder, ids % 300)
    assert _logits(decoder, ids % 300).abs().max() <= 0.01


def test_decoder_within(new_decoder):
    decoder = new_decoder()
    assert modeling.decoder_of(decoder) is decoder
    assert modeling.decoder_of(SkipCLMForCausalLM.around(decoder, 1, 3)) is decoder


def test_what_is_no_decoder_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a Hugging Face decoder"):
        modeling.load(tmp_path / "missing")
    T5ForConditionalGeneration(
        T5Config(vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a Hugging Face decoder"):
        modeling.load(tmp_path)


def test_weights_that_do_not_fill_the_model_are_refused(tmp_path, new_decoder):
    decoder = new_decoder("gpt2")
    decoder.save_pretrained(tmp_path)
    decoder.config.n_layer = 5
    decoder.config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"expected weights for the whole model, found none for transformer\.h\.4\."):
        modeling.load(tmp_path)


def test_context_is_what_the_model_reads_at_most(new_decoder):
    for architecture in ("xglm", "gpt2", "llama"):
        decoder = new_decoder(architecture)
        assert modeling.context(decoder) == modeling.context(SkipCLMForCausalLM.around(decoder, 1, 3)) == 64
