"""Adapters are put where they are asked for, and refused where they would be lost or are asked for in vain."""

import pytest
from helpers import LORA

from skipclm.errors import InputError
from skipclm.models import adapters


def test_named_maps_alone_have_adapters(new_decoder):
    decoder = new_decoder("llama")
    adapters.adapt(decoder, "lora", LORA | {"modules": ["q_proj", "up_proj"]})
    learning = {name.split(".")[-4] for name, weight in decoder.named_parameters() if weight.requires_grad}
    assert learning == {"q_proj", "up_proj"}


def test_frozen_decoder_learns_nothing(new_decoder):
    decoder = new_decoder()
    adapters.adapt(decoder, "frozen", {})
    assert not [name for name, weight in decoder.named_parameters() if weight.requires_grad]


@pytest.mark.parametrize(("architecture", "known"), [("llama", "q_proj, k_proj"), ("gpt2", "c_attn, c_proj")])
def test_name_that_no_module_has_is_refused(new_decoder, architecture, known):
    with pytest.raises(InputError, match=f"found 'quarry_proj'; the model has {known}"):
        adapters.adapt(new_decoder(architecture), "lora", LORA | {"modules": ["quarry_proj"]})


def test_some_name_that_no_module_has_is_refused(new_decoder):
    with pytest.raises(InputError, match="found 'proj'"):
        adapters.adapt(new_decoder(), "lora", LORA | {"modules": ["q_proj", "proj"]})


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens"])
def test_embeddings_that_are_the_head_too_have_no_adapters(new_decoder, name):
    with pytest.raises(InputError, match=f"that do not share their weights, found '{name}'"):
        adapters.adapt(new_decoder("llama"), "lora", LORA | {"modules": ["q_proj", name]})
    adapters.adapt(new_decoder("llama", tied=False), "lora", LORA | {"modules": ["q_proj", name]})
