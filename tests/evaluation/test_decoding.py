"""Translations against a plain greedy loop and `generate`; batches, beams, limits and memory."""

import pytest
import torch
from helpers import CONTRASTIVE, OFF, SKIP, TRAINING
from transformers import AutoConfig, AutoModelForCausalLM

from skipclm.data.examples import Examples
from skipclm.evaluation import decoding
from skipclm.models import checkpoints, decoders
from skipclm.models.modeling import SkipCLMForCausalLM
from skipclm.text import tidy
from skipclm.training import base_model, fine_tuning


def translate(*inputs, **options):
    return decoding.translate(*inputs, **options).texts


@pytest.fixture
def model(new_decoder):
    """A random decoder with a skip; its head is set so that some sentences end."""
    model = SkipCLMForCausalLM.around(new_decoder("llama", tied=False), 1, 3)
    torch.nn.init.constant_(model.skip.gate, 0.7)
    with torch.no_grad():
        model.get_output_embeddings().weight[2] *= 2.5
    return model


def sensitive_decoder(architecture, pairs):
    """Return a random decoder with an output that depends on its input, and its tokenizer."""
    decoder, tokenizer = base_model.untrained(architecture, pairs[0] + pairs[1], 3, 32, 2, 400, 1)
    with torch.no_grad():
        for weight in decoder.parameters():
            if weight.ndim > 1:
                weight.mul_(3.0)
    return decoder.eval(), tokenizer


@pytest.fixture
def sources(examples):
    """Twenty sentences of two to five tokens."""
    return examples.source[:20]


def _greedy(model, prompt, limit):
    """Return the most likely tokens, one by one, each with a full pass over the previous ones."""
    model.eval()
    ids = list(prompt)
    for _ in range(limit):
        with torch.no_grad():
            token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token == 2:
            break
        ids.append(token)
    return ids[len(prompt) :]


def _by_hand(model, tokenizer, sources, ratio, extra):
    """Return translations and their tokens, computed with a loop from the prompt `</s> source </s>`."""
    tokens = [_greedy(model, [2, *ids, 2], int(ratio * len(ids)) + extra) for ids in sources]
    return [tidy(tokenizer.decode(ids, skip_special_tokens=True)) for ids in tokens], tokens


@pytest.mark.parametrize("batch_tokens", [1, 70, 1000])
def test_translations_equal_those_of_a_plain_loop(model, tokenizer, sources, batch_tokens):
    expected, tokens = _by_hand(model, tokenizer, sources, 1.5, 3)
    ended = [len(row) < int(1.5 * len(ids)) + 3 for row, ids in zip(tokens, sources, strict=True)]
    assert {True, False} == set(ended)  # some sentences end with </s>, some at the limit
    assert len(set(expected)) > 10
    options = {"batch_tokens": batch_tokens, "length_ratio": 1.5, "length_extra": 3}
    assert translate(model, tokenizer, sources, **options) == expected


def test_batches_do_not_change_translations(decoder, tokenizer, sources):
    with torch.no_grad():
        decoder.get_output_embeddings().weight[2] *= 2.5
    expected, _ = _by_hand(decoder, tokenizer, sources, 2.0, 2)
    for batch_tokens in (1, 70):
        options = {"batch_tokens": batch_tokens, "length_ratio": 2.0, "length_extra": 2}
        assert translate(decoder, tokenizer, sources, **options) == expected


def test_each_sentence_has_its_own_length_limit(new_decoder, tokenizer):
    decoder, sources = new_decoder(), [[300] * 5, [301] * 2, [302] * 3]
    translations = translate(decoder, tokenizer, sources, length_ratio=0.5, length_extra=1)
    _, tokens = _by_hand(decoder, tokenizer, sources, 0.5, 1)
    assert [len(row) for row in tokens] == [3, 2, 2]  # half of 5, 2 and 3 rounded down, plus 1
    assert translations == _by_hand(decoder, tokenizer, sources, 0.5, 1)[0]


@pytest.mark.parametrize("batch_tokens", [1, 200])
def test_beam_search_equals_that_of_generate(model, tokenizer, sources, batch_tokens):
    expected = []
    for ids in sources:
        prompt = torch.tensor([[2, *ids, 2]])
        options = {"num_beams": 3, "max_new_tokens": 8, "eos_token_id": 2, "pad_token_id": 1}
        row = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)[0, prompt.shape[1] :]
        expected.append(tidy(tokenizer.decode(row, skip_special_tokens=True)))
    options = {"batch_tokens": batch_tokens, "length_ratio": 0.0, "length_extra": 8}
    assert translate(model, tokenizer, sources, beams=3, **options) == expected
    assert translate(model, tokenizer, sources, **options) != expected


def test_beam_search_does_not_depend_on_the_batch(model, tokenizer, sources):
    """Beam search runs to the longest limit of its batch, which can change the result of other sentences."""
    options = {"beams": 3, "length_ratio": 1.0, "length_extra": 2}
    single = [translate(model, tokenizer, [ids], **options)[0] for ids in sources]
    assert translate(model, tokenizer, sources, **options) == single
    assert len({len(ids) for ids in sources}) > 2


@pytest.mark.parametrize("architecture", ["recurrent_gemma", "minimax", "lfm2"])
def test_beam_search_with_states_outside_the_cache(architecture, pairs, examples):
    decoder, tokenizer = sensitive_decoder(architecture, pairs)
    expected = []
    for ids in examples.source[:6]:
        prompt = torch.tensor([[2, *ids, 2]])
        options = {"num_beams": 3, "max_new_tokens": 6, "eos_token_id": 2, "pad_token_id": 1, "use_cache": False}
        row = decoder.generate(prompt, attention_mask=torch.ones_like(prompt), **options)[0, prompt.shape[1] :]
        expected.append(tidy(tokenizer.decode(row, skip_special_tokens=True)))
    options = {"length_ratio": 0.0, "length_extra": 6}
    assert translate(decoder, tokenizer, examples.source[:6], beams=3, **options) == expected


@pytest.mark.parametrize("architecture", ["recurrent_gemma", "minimax", "lfm2", "rwkv"])
def test_reduced_batch_continues_with_its_states(architecture, pairs, examples):
    decoder, tokenizer = sensitive_decoder(architecture, pairs)
    with torch.no_grad():
        decoder.get_output_embeddings().weight[2] *= 4  # many sentences end early
    sources = [(ids * 5)[:5] for ids in examples.source[:30]]
    options = {"length_ratio": 0.0, "length_extra": 20}
    translated = decoding.translate(decoder, tokenizer, sources, progress=False, **options)
    assert translated.texts == [translate(decoder, tokenizer, [ids], **options)[0] for ids in sources]
    assert translated.cut.count(False) > 10


def test_dropout_is_off(new_decoder, tokenizer, sources):
    decoder = new_decoder("llama")
    expected = translate(decoder, tokenizer, sources)
    decoder.config.attention_dropout = 0.5
    for module in decoder.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    assert translate(decoder.train(), tokenizer, sources) == expected


def test_no_sources_give_no_translations(new_decoder, tokenizer):
    assert translate(new_decoder(), tokenizer, []) == []


def test_empty_source_has_a_translation(new_decoder, tokenizer):
    translations = translate(new_decoder(), tokenizer, [[], [300]], length_extra=4)
    assert translations == _by_hand(new_decoder(), tokenizer, [[], [300]], 2.0, 4)[0]


def test_generation_settings_of_a_checkpoint_are_ignored(new_decoder, tokenizer):
    plain, habitual = new_decoder(), new_decoder()
    habitual.generation_config.repetition_penalty = 5.0
    sources = [[300, 301], [302]]
    assert translate(habitual, tokenizer, sources) == translate(plain, tokenizer, sources)


def test_trained_decoder_translates_unseen_sentences(tmp_path, new_decoder, tokenizer, prompt, examples, pairs):
    settings = {
        "contrastive": CONTRASTIVE,
        "skip": SKIP,
        "lora": OFF,
        "training": TRAINING | {"steps": 300, "learning_rate": 1e-2},
    }
    seen = Examples(examples.source[50:], examples.target[50:], examples.keys[50:])
    outcome = fine_tuning.train(new_decoder(spread=0.1), prompt, settings, seen, seen, 1, tmp_path)
    checkpoints.save(outcome.model, tokenizer, tmp_path / "model", {})
    translations = translate(*checkpoints.load(tmp_path / "model"), examples.source[:50])
    right = sum(translation == reference for translation, reference in zip(translations, pairs[1], strict=False))
    assert right >= 15  # of 50; by chance, one in a hundred two-digit numbers is right


def test_translation_ends_at_the_context_of_the_model(new_decoder, tokenizer):
    decoder = new_decoder("gpt2")  # has 64 positions
    (translated,) = translate(decoder, tokenizer, [[300] * 60], length_extra=100)
    assert translated == _by_hand(decoder, tokenizer, [[300] * 60], 0, 2)[0][0]


@pytest.mark.parametrize("beams", [1, 2])
def test_too_long_source_has_an_empty_translation_that_counts_as_cut(new_decoder, tokenizer, beams):
    decoder, sources = new_decoder("gpt2"), [[301] * 3, [300] * 62, [302, 303], [300] * 200, [300] * 61]  # 64 positions
    translated = decoding.translate(decoder, tokenizer, sources, beams=beams)
    assert translated.too_long == [False, True, False, True, False]
    assert translated.texts[1] == translated.texts[3] == ""
    assert translated.cut[1] is translated.cut[3] is True
    readable = [sources[i] for i in (0, 2, 4)]
    assert [translated.texts[i] for i in (0, 2, 4)] == translate(decoder, tokenizer, readable, beams=beams)


def test_all_sources_may_be_too_long(new_decoder, tokenizer):
    translated = decoding.translate(new_decoder("gpt2"), tokenizer, [[300] * 63, [300] * 64])
    assert (translated.texts, translated.cut, translated.too_long) == (["", ""], [True, True], [True, True])


def test_long_sentences_do_not_shorten_the_limit_of_others(new_decoder, tokenizer):
    decoder = new_decoder("gpt2")
    sources = [[300] * 50, [301] * 3, [302, 303], [304] * 30]
    options = {"length_ratio": 1.0, "length_extra": 20}
    together = translate(decoder, tokenizer, sources, **options)
    single = [translate(decoder, tokenizer, [ids], **options)[0] for ids in sources]
    assert together == single
    _, tokens = _by_hand(decoder, tokenizer, sources[1:3], 1.0, 20)
    assert max(map(len, tokens)) > 12  # the longest sentence leaves room for 12


def test_translation_does_not_change_the_model(model, tokenizer, sources):
    habits = model.generation_config
    for mode in (True, False):
        translate(model.train(mode), tokenizer, sources)
        assert model.training == model.decoder.training == mode
        assert model.generation_config is habits


def test_recurrent_decoder_translates(tokenizer, sources):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": len(tokenizer)}
    decoder = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes)).eval()
    same = [sources[0]] * 5  # equal lengths: no padding, which a recurrent model would read
    expected, _ = _by_hand(decoder, tokenizer, same, 2.0, 2)
    assert translate(decoder, tokenizer, same, length_ratio=2.0, length_extra=2) == expected


def test_block_with_attention_and_a_recurrent_state_translates(tokenizer, sources):
    """Both parts of the cache are reduced to the sentences that have not ended."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 2, "mamba_d_ssm": 32, "mamba_n_heads": 2, "mamba_d_head": 16, "mamba_d_state": 8}
    config = AutoConfig.for_model("falcon_h1", vocab_size=len(tokenizer), **sizes)
    decoder = AutoModelForCausalLM.from_config(config).eval()
    options = {"length_ratio": 1.5, "length_extra": 3}
    assert translate(decoder, tokenizer, sources, **options) == _by_hand(decoder, tokenizer, sources, 1.5, 3)[0]


def test_cut_translations_are_marked(model, tokenizer, sources):
    _, tokens = _by_hand(model, tokenizer, sources, 1.5, 3)
    limits = [int(1.5 * len(ids)) + 3 for ids in sources]
    expected = [len(row) == limit for row, limit in zip(tokens, limits, strict=True)]
    assert {True, False} == set(expected)
    assert decoding.translate(model, tokenizer, sources, length_ratio=1.5, length_extra=3).cut == expected


@pytest.mark.parametrize("beams", [1, 2])
def test_lack_of_memory_halves_the_batch(model, tokenizer, sources, monkeypatch, capsys, beams):
    expected, generate = translate(model, tokenizer, sources, beams=beams), decoding._generate

    def short_of_memory(model, search, prompts, *rest):
        if len(prompts) > 3:
            raise torch.OutOfMemoryError("injected")
        return generate(model, search, prompts, *rest)

    monkeypatch.setattr(decoding, "_generate", short_of_memory)
    assert translate(model, tokenizer, sources, beams=beams) == expected
    largest = 20 if beams == 1 else 4  # with beams, only sentences with the same limit
    assert f"out of memory with {largest} sentences at a time: now {largest // 2}" in capsys.readouterr().err


def test_lack_of_memory_for_a_single_sentence_is_an_error(model, tokenizer, sources, monkeypatch):
    def short_of_memory(*rest):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(decoding, "_generate", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        translate(model, tokenizer, sources)


# Decoders whose translations depend on the batch


@pytest.mark.parametrize(
    ("architecture", "batching"),
    [("llama", "any"), ("recurrent_gemma", "equal_length"), ("rwkv", "single"), ("mamba", "any")],
)
def test_translations_do_not_depend_on_the_batch(architecture, batching, pairs, examples):
    decoder, tokenizer = sensitive_decoder(architecture, pairs)
    assert decoders.find_batching(decoder) == batching
    sources = examples.source[:7]
    together = translate(decoder, tokenizer, sources, length_extra=6)
    assert together == [translate(decoder, tokenizer, [ids], length_extra=6)[0] for ids in sources]
    assert len(set(together)) > 3


@pytest.mark.parametrize(("batching", "expected"), [("equal_length", 1), ("single", 20), ("any", None)])
def test_batches_follow_the_batching_of_the_decoder(model, tokenizer, sources, monkeypatch, batching, expected):
    monkeypatch.setattr(decoding, "find_batching", lambda decoder: batching)
    batches = []
    generate = decoding._generate_in_memory
    monkeypatch.setattr(decoding, "_generate_in_memory", lambda *inputs: batches.append(inputs[2]) or generate(*inputs))
    translate(model, tokenizer, sources)
    lengths = [{len(prompt) for prompt in batch} for batch in batches]
    if batching == "any":
        assert max(map(len, lengths)) > 1
    elif batching == "equal_length":
        assert set(map(len, lengths)) == {expected}
        assert len(batches) == len({len(ids) for ids in sources})
    else:
        assert len(batches) == expected
