"""Adapters on the configured modules, and modules that are refused."""

import pytest
from helpers import LORA

from skipclm.errors import InputError
from skipclm.models import adapters


def test_only_named_modules_have_adapters(new_decoder):
    decoder = new_decoder("llama")
    adapters.adapt(decoder, "lora", LORA | {"modules": ["q_proj", "up_proj"]})
    learning = {name.split(".")[-4] for name, weight in decoder.named_parameters() if weight.requires_grad}
    assert learning == {"q_proj", "up_proj"}


def test_frozen_decoder_has_no_trainable_weights(new_decoder):
    decoder = new_decoder()
    adapters.adapt(decoder, "frozen", {})
    assert not [name for name, weight in decoder.named_parameters() if weight.requires_grad]


@pytest.mark.parametrize(("architecture", "known"), [("llama", "q_proj, k_proj"), ("gpt2", "c_attn, c_proj")])
def test_unknown_module_is_refused(new_decoder, architecture, known):
    with pytest.raises(InputError, match=f"found 'quarry_proj'; the model has {known}"):
        adapters.adapt(new_decoder(architecture), "lora", LORA | {"modules": ["quarry_proj"]})


def test_one_unknown_module_of_several_is_refused(new_decoder):
    with pytest.raises(InputError, match="found 'proj'"):
        adapters.adapt(new_decoder(), "lora", LORA | {"modules": ["q_proj", "proj"]})


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens"])
def test_tied_embeddings_have_no_adapters(new_decoder, name):
    with pytest.raises(InputError, match=f"that do not share their weights, found '{name}'"):
        adapters.adapt(new_decoder("llama"), "lora", LORA | {"modules": ["q_proj", name]})
    adapters.adapt(new_decoder("llama", tied=False), "lora", LORA | {"modules": ["q_proj", name]})
