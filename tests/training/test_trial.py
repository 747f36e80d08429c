"""The trial of the base model before any training: what it accepts and what it refuses."""

import pytest
import torch
from helpers import OFF, TRAINING, logits_of, trial_config
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from skipclm.errors import InputError
from skipclm.models import checkpoints
from skipclm.training import base_model, trial


def _refusal(folder, config=None):
    with pytest.raises(InputError) as caught:
        trial.try_base(folder, config or trial_config())
    assert not list(folder.parent.glob(".trial.*"))
    return str(caught.value)


# The other decoders are in `make sweep`.
@pytest.mark.parametrize("architecture", ["xglm", "gpt2", "gemma2"])
def test_decoders_of_different_kinds_pass(new_decoder, save_base, architecture):
    assert trial.try_base(save_base(new_decoder(architecture)), trial_config()) == ["c2-s1-t3", "skip_only", "finetune"]


@pytest.mark.parametrize("weights", ["lora", "frozen"])
def test_trial_supports_lora_and_frozen_weights(new_decoder, save_base, weights):
    variants = {"full": {"contrastive": OFF, "training": {"weights": weights}}}
    config = trial_config(
        ablation={"variants": variants}, evaluation={"beams": 2, "length_ratio": 1.0, "length_extra": 3}
    )
    assert trial.try_base(save_base(new_decoder("llama")), config) == ["c2-s1-t3", "full"]


def test_trial_does_not_change_the_base_model(new_decoder, save_base, ids):
    folder = save_base(new_decoder())
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    trial.try_base(folder, trial_config())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_states_of_another_shape_are_refused(save_base, tokenizer):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    options = {"num_key_value_heads": 2, "head_dim": 16, "num_kv_shared_layers": 0, "laurel_rank": 8}
    options |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": len(tokenizer)}
    config = AutoConfig.for_model("gemma3n_text", vocab_size=len(tokenizer), pad_token_id=1, **sizes, **options)
    message = _refusal(save_base(AutoModelForCausalLM.from_config(config)))
    assert (
        "the base model: expected blocks with states of the shape (batch, tokens, 32), found the shape (4," in message
    )


def test_loss_that_differs_from_transformers_is_refused(new_decoder, save_base, monkeypatch):
    folder = save_base(new_decoder("llama"))
    monkeypatch.setattr(trial.fine_tuning.Objective, "_router_loss", lambda *_: torch.tensor(1.0))
    assert "c2-s1-t3: expected the loss that transformers computes" in _refusal(folder)


@pytest.mark.parametrize("architecture", ["jetmoe", "deepseek_v2", "lfm2_moe"])
def test_architectures_with_unusual_router_losses_pass(save_base, tokenizer, architecture):
    """JetMoe has another name for the weight of the loss; the others return router logits, but have no such loss."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 2, "output_router_logits": True, "max_position_embeddings": 64}
    options = {
        "jetmoe": {"kv_channels": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "aux_loss_coef": 0.5},
        "deepseek_v2": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
        | {"moe_intermediate_size": 16, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8}
        | {"qk_nope_head_dim": 8, "v_head_dim": 16},
        "lfm2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
        | {"layer_types": ["conv", "full_attention"] * 2},
    }[architecture]
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    decoder = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **sizes, **options, **tokens))
    assert trial.try_base(save_base(decoder), trial_config()) == ["c2-s1-t3", "skip_only", "finetune"]


def test_gradient_that_differs_from_transformers_is_refused(save_base, pairs, tokenizer, monkeypatch):
    decoder, _ = base_model.untrained("modernbert-decoder", pairs[0] + pairs[1], 4, 32, 2, 400, 1)
    folder = save_base(decoder)
    head = trial.decoders.Head.__init__

    def forget(self, decoder):
        head(self, decoder)
        self.weights = [weight for weight in self.weights if weight.ndim > 1][:1]

    monkeypatch.setattr(trial.decoders.Head, "__init__", forget)
    assert "expected the gradients that transformers computes, found another one of " in _refusal(folder)


def test_model_that_cannot_be_saved_is_refused(new_decoder, save_base, monkeypatch):
    folder = save_base(new_decoder("gpt2"))

    def fail(*_, **__):
        raise TypeError("validator\nof two lines")

    monkeypatch.setattr("skipclm.models.modeling.SkipCLMForCausalLM.save_pretrained", fail)
    message = _refusal(folder)
    assert "c2-s1-t3: expected a decoder that can be trained, saved, loaded and translated with" in message
    assert "(TypeError: validator)" in message


def test_skip_that_is_lost_on_loading_is_refused(new_decoder, save_base, monkeypatch):
    folder = save_base(new_decoder("llama"))
    load = checkpoints.load

    def forget(path):
        model, tokenizer = load(path)
        if hasattr(model, "skip"):
            nn.init.zeros_(model.skip.gate)
        return model, tokenizer

    monkeypatch.setattr(checkpoints, "load", forget)
    assert "expected the same logits after saving and loading, found others" in _refusal(folder)


def test_cache_that_changes_the_output_is_refused(new_decoder, save_base, monkeypatch):
    decoder = new_decoder("llama")
    folder, generate = save_base(decoder), type(decoder).generate

    def generate_worse(self, ids, use_cache=True, **options):
        output = generate(self, ids, use_cache=use_cache, **options)
        if use_cache:
            output.logits = tuple(logits + 1.0 for logits in output.logits)
        return output

    monkeypatch.setattr(type(decoder), "generate", generate_worse)
    assert "generates the same with its cache as without, found other logits" in _refusal(folder)


def test_wrong_setting_is_reported(new_decoder, save_base):
    folder = save_base(new_decoder())
    message = _refusal(folder, trial_config(training=TRAINING | {"max_tokens": 300}))
    assert message.startswith("c2-s1-t3: training.max_tokens: expected at most 61")


def test_any_error_in_a_trial_is_an_input_error(new_decoder, save_base, monkeypatch):
    monkeypatch.setattr(trial, "_check_states", lambda decoder: logits_of(decoder, "text"))
    assert _refusal(save_base(new_decoder())).startswith("the base model: expected a decoder that can be trained")
