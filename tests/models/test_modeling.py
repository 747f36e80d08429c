"""The skip connection: its formula around any decoder, saving and loading, and use in transformers."""

import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from helpers import logits_of, stack_of, states_of, trained_skip
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
    default_data_collator,
    modeling_utils,
)
from transformers.utils import hub

from skipclm.data.batching import pad
from skipclm.models import loading, modeling
from skipclm.models.modeling import SkipCLMForCausalLM

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")


# The skip


@pytest.mark.parametrize("gate", ["learned", "warmup"])
def test_new_skip_changes_no_bit(decoder, ids, gate):
    expected = logits_of(decoder, ids)
    model = SkipCLMForCausalLM.around(decoder, 1, 3, gate=gate)
    assert torch.equal(logits_of(model, ids), expected)
    with torch.no_grad():
        model.skip.gate.fill_(0.01)
    assert not torch.equal(logits_of(model, ids), expected)


def test_new_skip_changes_no_bit_in_half_precision(decoder, ids):
    decoder.bfloat16()
    expected = logits_of(decoder, ids)
    logits = logits_of(SkipCLMForCausalLM.around(decoder, 2, 4).bfloat16(), ids)
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
    """Return the logits with `state` as the input of block `number`; independent of the package."""

    def replace(block, inputs, named):
        return ((state, *inputs[1:]), named) if inputs else ((), named | {"hidden_states": state})

    handle = stack_of(decoder)[number - 1].register_forward_pre_hook(replace, with_kwargs=True)
    logits = logits_of(decoder, ids)
    handle.remove()
    return logits


def _by_formula(decoder, skip, ids, activation, normalize):
    """Return the logits if the input of block t is h(t-1) + gate * activation(W h(s) + b)."""
    states, config = states_of(decoder, ids), skip.config
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
    model = trained_skip(decoder, source, target)
    expected = _by_formula(plain, model, ids, "gelu", normalize=True)
    torch.testing.assert_close(logits_of(model, ids), expected)
    assert (expected - logits_of(plain, ids)).abs().max() > 0.05


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_and_normalization_are_the_configured_ones(new_decoder, ids, activation, normalize):
    model = trained_skip(new_decoder(), activation=activation, normalize=normalize)
    expected = _by_formula(new_decoder(), model, ids, activation, normalize)
    torch.testing.assert_close(logits_of(model, ids), expected)


def test_new_skip_keeps_the_variance_and_has_a_closed_gate(new_decoder):
    skip = SkipCLMForCausalLM.around(new_decoder(), 1, 3).skip
    assert skip.linear.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)  # the width is 32
    assert not skip.linear.bias.any()
    assert skip.gate == 0


def test_gate_is_a_parameter_or_a_buffer(new_decoder):
    learned = SkipCLMForCausalLM.around(new_decoder(), 1, 3)
    warmed = SkipCLMForCausalLM.around(new_decoder(), 1, 3, gate="warmup")
    assert "skip.gate" in dict(learned.named_parameters())
    assert "skip.gate" not in dict(warmed.named_parameters())
    assert "skip.gate" in warmed.state_dict()


def test_copy_has_its_own_skip(new_decoder, ids):
    model = trained_skip(new_decoder())
    expected, copied = logits_of(model, ids), copy.deepcopy(model)
    assert torch.equal(logits_of(copied, ids), expected)
    with torch.no_grad():
        copied.skip.gate.zero_()
    assert torch.equal(logits_of(copied, ids), logits_of(new_decoder(), ids))
    assert torch.equal(logits_of(model, ids), expected)


def test_copy_does_not_contain_the_graph_of_the_last_pass(new_decoder, ids):
    model = trained_skip(new_decoder()).train()
    model(ids)
    assert torch.equal(logits_of(copy.deepcopy(model).eval(), ids), logits_of(model.eval(), ids))


def test_skip_around_a_skip_is_refused(new_decoder):
    decoder = new_decoder()
    model = SkipCLMForCausalLM.around(decoder, 1, 3)
    for taken in (model, decoder):
        with pytest.raises(ValueError, match="expected a decoder without a skip connection"):
            SkipCLMForCausalLM.around(taken, 1, 2)


@pytest.mark.parametrize("form", [{"gate": "ajar"}, {"activation": "bell"}])
def test_unknown_form_is_refused(new_decoder, form):
    with pytest.raises(ValueError, match=r"expected a gate .* found '(ajar|learned)' and '(gelu|bell)'"):
        SkipCLMForCausalLM.around(new_decoder(), 1, 3, **form)


@pytest.mark.parametrize(("source", "target"), [(0, 2), (2, 2), (3, 2), (1, 5)])
def test_skip_must_lead_upwards_within_the_model(new_decoder, source, target):
    with pytest.raises(ValueError, match=f"1 <= source < target <= 4, found {source} and {target}"):
        SkipCLMForCausalLM.around(new_decoder(), source, target)


# Use of a model


@pytest.mark.parametrize("gate", ["learned", "warmup"])
def test_auto_class_loads_a_saved_skip(tmp_path, decoder, ids, gate):
    model = trained_skip(decoder, gate=gate, activation="tanh")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is SkipCLMForCausalLM
    assert torch.equal(logits_of(loaded, ids), logits_of(model, ids))
    assert loaded.skip.gate.item() == pytest.approx(0.7)
    tied = [m.get_output_embeddings().weight is m.get_input_embeddings().weight for m in (model, loaded)]
    assert tied[0] == tied[1]


def test_number_format_is_full_precision_by_default(tmp_path, new_decoder):
    trained_skip(new_decoder()).bfloat16().save_pretrained(tmp_path)
    assert {weight.dtype for weight in loading.load(tmp_path).parameters()} == {torch.float32}
    half = loading.load(tmp_path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("beams", [1, 2])
def test_cache_does_not_change_the_output(decoder, ids, beams):
    model = trained_skip(decoder)
    options = {"attention_mask": torch.ones_like(ids), "min_new_tokens": 12, "max_new_tokens": 12, "num_beams": beams}
    with_cache = model.generate(ids, **options, use_cache=True)
    assert torch.equal(with_cache, model.generate(ids, **options, use_cache=False))
    model.skip.gate.data.zero_()
    assert not torch.equal(with_cache, model.generate(ids, **options))  # the skip changes the output


def test_left_padding_does_not_change_the_output(decoder, ids):
    model, rows = trained_skip(decoder), [ids[0, :3].tolist(), ids[1].tolist(), ids[2, :7].tolist()]
    mask = pad([[1] * len(row) for row in rows], 0, left=True)
    options = {"min_new_tokens": 10, "max_new_tokens": 10}
    together = model.generate(pad(rows, 1, left=True), attention_mask=mask, **options)[:, -10:]
    single = [
        model.generate(torch.tensor([row]), attention_mask=torch.ones(1, len(row)), **options)[:, -10:] for row in rows
    ]
    assert torch.equal(together, torch.cat(single))


def _gradients(model, ids):
    model.train()
    model(ids, labels=ids, use_cache=False).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def test_gradient_checkpointing_changes_no_gradient(decoder, ids):
    model = trained_skip(decoder)
    checkpointed = copy.deepcopy(model)
    checkpointed.gradient_checkpointing_enable()
    torch.testing.assert_close(_gradients(checkpointed, ids), _gradients(model, ids))


def test_trainer_of_transformers_trains_it(tmp_path, decoder, ids):
    """The data has columns that the model does not know; the loss is a mean over tokens."""
    model, rows = trained_skip(decoder), [{"input_ids": row, "labels": row, "note": "x"} for row in ids.tolist()]
    with torch.no_grad():
        expected = decoder(ids, labels=ids).loss.item()
    arguments = TrainingArguments(
        tmp_path, max_steps=1, per_device_train_batch_size=3, logging_steps=1, report_to="none", use_cpu=True
    )
    before = model.skip.linear.weight.clone()
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=default_data_collator)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, rel=1e-3)
    assert not torch.equal(model.skip.linear.weight, before)


def test_resized_vocabulary_is_saved_and_loaded(tmp_path, decoder, ids):
    model = trained_skip(decoder)
    vocabulary = decoder.config.vocab_size
    model.resize_token_embeddings(vocabulary + 8)
    assert model.config.vocab_size == vocabulary + 8
    model.save_pretrained(tmp_path)
    assert torch.equal(logits_of(AutoModelForCausalLM.from_pretrained(tmp_path), ids), logits_of(model, ids))


def test_settings_apply_to_the_base(tmp_path, new_decoder, ids):
    model = trained_skip(new_decoder("llama"))
    model.config.output_hidden_states, model.config.use_cache = True, False
    outputs = model(ids)
    assert len(outputs.hidden_states) == 5
    assert outputs.past_key_values is None
    model.decoder.config.max_position_embeddings = 99
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attention_dropout=0.5)
    assert loaded.config.max_position_embeddings == loaded.decoder.config.max_position_embeddings == 99
    assert loaded.decoder.model.layers[0].self_attn.attention_dropout == 0.5
    assert loaded.config.base is loaded.decoder.config


def test_two_forward_passes_before_one_backward_pass(decoder, ids):
    """Each pass has its own source state, also with gradient checkpointing."""
    model = trained_skip(decoder)
    checkpointed = copy.deepcopy(model)
    checkpointed.gradient_checkpointing_enable()
    for variant in (model, checkpointed):
        variant.train()
        losses = [variant(rows, labels=rows, use_cache=False).loss for rows in (ids, ids.flip(0, 1)[:2])]
        sum(losses).backward()
    gradients = [
        {name: weight.grad for name, weight in variant.named_parameters()} for variant in (model, checkpointed)
    ]
    torch.testing.assert_close(*gradients)


def test_embeddings_and_head_can_be_replaced(new_decoder, ids):
    model = trained_skip(new_decoder("llama", tied=False))
    head = torch.nn.Linear(32, 7, bias=False)
    model.set_output_embeddings(head)
    assert model.get_output_embeddings() is head
    assert logits_of(model, ids).shape[-1] == 7


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_the_requested_one(tmp_path, new_decoder, attention):
    trained_skip(new_decoder("llama")).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=attention)
    assert loaded.decoder.config._attn_implementation == attention


def test_unsupported_attention_is_refused(tmp_path, new_decoder):
    trained_skip(new_decoder("xglm")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="XGLMForCausalLM does not support"):
        AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.decoder.config._attn_implementation == "eager"


def test_decoder_of_returns_the_inner_decoder(new_decoder):
    decoder = new_decoder()
    assert modeling.decoder_of(decoder) is decoder
    assert modeling.decoder_of(SkipCLMForCausalLM.around(decoder, 1, 3)) is decoder


def test_model_that_is_not_a_decoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a Hugging Face decoder"):
        loading.load(tmp_path / "missing")
    T5ForConditionalGeneration(
        T5Config(vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected a Hugging Face decoder"):
        loading.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"skip_target": 9}, "expected 1 <= source < target <= 4, found 1 and 9"),
        ({"base": None}, "create the model with `around`"),
        ({"hidden_size": 8}, "cannot be loaded"),
    ],
)
def test_folder_with_a_damaged_configuration_is_refused(tmp_path, new_decoder, change, reason):
    trained_skip(new_decoder("llama")).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    (settings["base"] if "hidden_size" in change else settings).update(change)
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=reason):
        loading.load(tmp_path)


def test_missing_weights_are_refused(tmp_path, new_decoder):
    decoder = new_decoder("gpt2")
    decoder.save_pretrained(tmp_path)
    decoder.config.n_layer = 5
    decoder.config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"expected weights for the whole model, found none for transformer\.h\.4\."):
        loading.load(tmp_path)


def test_context_is_the_maximum_number_of_tokens(new_decoder):
    for architecture in ("xglm", "gpt2", "llama"):
        decoder = new_decoder(architecture)
        assert modeling.context(decoder) == modeling.context(SkipCLMForCausalLM.around(decoder, 1, 3)) == 64


def test_context_of_mpt_has_another_name():
    assert modeling.context_of(AutoConfig.for_model("mpt", max_seq_len=48)) == 48


@pytest.mark.parametrize("architecture", ["xglm", "opt"])
def test_layerdrop_is_off(new_decoder, tmp_path, capsys, architecture):
    """A dropped block would have no state for the contrastive loss or the skip."""
    decoder = new_decoder(architecture)
    decoder.config.layerdrop = 0.5
    decoder.save_pretrained(tmp_path)
    loaded = loading.load(tmp_path).train()
    assert "layerdrop 0.5 is set to 0" in capsys.readouterr().err
    assert loaded.config.layerdrop == 0
    runs = []
    stack_of(loaded)[2].register_forward_hook(lambda *_: runs.append(1))
    for _ in range(20):
        loaded(torch.tensor([[5, 6]]))
    assert len(runs) == 20


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_outputs_have_names_even_with_return_dict_off(new_decoder, tmp_path, architecture):
    decoder = new_decoder(architecture)
    decoder.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    extras = {"return_dict": False, "output_hidden_states": True, "output_attentions": True}
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | extras), encoding="utf-8")
    output = loading.load(tmp_path)(torch.tensor([[5, 6, 7]]))
    assert (output.hidden_states, output.attentions) == (None, None)
    torch.testing.assert_close(output.logits, decoder(torch.tensor([[5, 6, 7]])).logits)


# Files of a model folder


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_loaded_on_request(tmp_path, decoder, ids, dtype):
    model = trained_skip(decoder)
    model.save_pretrained(tmp_path / "skip")
    decoder.save_pretrained(tmp_path / "base")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "skip", dtype=dtype)
    assert {weight.dtype for weight in loaded.parameters()} == {dtype}
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype)
    expected = SkipCLMForCausalLM.around(base, 1, 3)
    expected.skip.load_state_dict(model.skip.state_dict())
    assert torch.equal(logits_of(loaded, ids), logits_of(expected, ids))


def test_skip_has_the_number_format_of_its_decoder(decoder, ids):
    decoder.bfloat16()
    model = SkipCLMForCausalLM.around(decoder, 1, 3)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert logits_of(model, ids).dtype == torch.bfloat16


def test_folder_has_safetensors_and_no_code(tmp_path, new_decoder):
    trained_skip(new_decoder()).save_pretrained(tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"config.json", "generation_config.json", "model.safetensors", "README.md"}
    assert "auto_map" not in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_model_card_explains_how_to_load_the_model(tmp_path, new_decoder):
    trained_skip(new_decoder("llama"), 2, 4).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "# llama with a skip connection" in card
    assert "import skipclm" in card


def test_existing_card_stays(tmp_path, new_decoder):
    model, card = trained_skip(new_decoder()), tmp_path / "README.md"
    card.write_text("# Mine\n", encoding="utf-8")
    for _ in range(2):
        model.save_pretrained(tmp_path)
        text = card.read_text(encoding="utf-8")
        assert text.startswith("# Mine\n\n# xglm with a skip connection\n")
        assert text.count("# xglm with a skip connection") == 1


@pytest.mark.parametrize("there", [None, "# Ours, already\n"])
@pytest.mark.parametrize("way", ["push_to_hub", "save_pretrained"])
def test_card_is_uploaded_to_the_hub(tmp_path, new_decoder, monkeypatch, there, way):
    """Nothing is uploaded: the test reads the files that would be."""

    def card_of_the_repository(*where, **options):
        if there is None:
            raise EntryNotFoundError("no card")
        return ModelCard(there)

    sent = {}

    def upload(self, folder, *where, **options):
        sent.update({path.name: path.read_bytes() for path in Path(folder).iterdir()})

    monkeypatch.setattr(hub.ModelCard, "load", card_of_the_repository)
    monkeypatch.setattr(hub, "hf_api", MagicMock())
    monkeypatch.setattr(modeling_utils, "hf_api", MagicMock(), raising=False)
    monkeypatch.setattr(hub.PushToHubMixin, "_upload_modified_files", upload)
    model = trained_skip(new_decoder())
    if way == "push_to_hub":
        model.push_to_hub("us/skip")
    else:
        model.save_pretrained(tmp_path / "skip", push_to_hub=True, repo_id="us/skip")
    card = sent["README.md"].decode()
    assert "model.safetensors" in sent
    assert "automatically generated" not in card
    assert "import skipclm" in card
    assert ("# Ours, already" in card) == (there is not None)


def _output_of_the_base_class(folder, architecture):
    """Load a folder in another process with the class of its base model; return the output."""
    code = f"import transformers; transformers.{architecture}.from_pretrained({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_loading_as_the_base_model_causes_warnings(tmp_path, new_decoder):
    trained_skip(new_decoder("llama")).save_pretrained(tmp_path)
    output = _output_of_the_base_class(tmp_path, "LlamaForCausalLM")
    assert "skip.linear.weight" in output  # the base does not know this weight
    assert "MISSING" in output  # and its own weights are not found
    assert "newly initialized" in output


def test_auto_class_without_the_package_names_the_model_type(tmp_path, new_decoder):
    trained_skip(new_decoder()).save_pretrained(tmp_path)
    code = f"from transformers import AutoModelForCausalLM; AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "model type `skipclm`" in done.stderr


def test_import_of_the_package_is_enough_for_the_auto_class(tmp_path, new_decoder):
    trained_skip(new_decoder()).save_pretrained(tmp_path)
    code = f"""
import skipclm
from transformers import AutoConfig, AutoModelForCausalLM
print(AutoConfig.from_pretrained({str(tmp_path)!r}).skip_target)
print(type(AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "SkipCLMForCausalLM"]


def test_code_is_saved_with_the_weights_on_request(tmp_path, new_decoder, ids):
    model = trained_skip(new_decoder())
    code = f"""
from skipclm.models.modeling import SkipCLMConfig, SkipCLMForCausalLM
SkipCLMConfig.register_for_auto_class()
SkipCLMForCausalLM.register_for_auto_class("AutoModelForCausalLM")
SkipCLMForCausalLM.from_pretrained({str(tmp_path / "plain")!r}).save_pretrained({str(tmp_path / "coded")!r})
"""
    model.save_pretrained(tmp_path / "plain")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    load = f"""
import sys
sys.modules["skipclm"] = None  # as if it were not installed
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({str(tmp_path / "coded")!r}, trust_remote_code=True)
torch.save(model(torch.tensor({ids.tolist()})).logits, {str(tmp_path / "logits.pt")!r})
"""
    environment = os.environ | {"HF_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", load], check=True, capture_output=True, env=environment)
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), logits_of(model, ids))


def test_configuration_has_the_attributes_of_its_base(decoder):
    config = SkipCLMForCausalLM.around(decoder, 1, 3).config
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (32, 4, decoder.config.vocab_size)
    with pytest.raises(AttributeError):
        config.no_such_thing  # noqa: B018
