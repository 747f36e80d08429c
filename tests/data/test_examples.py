"""Prompts, encoded pairs and decoding."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from skipclm.data import examples
from skipclm.data.examples import Examples, Prompt
from skipclm.errors import InputError


def _word_tokenizer(template=None, **special):
    words = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "a", "b"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@pytest.mark.parametrize(
    ("template", "begin"),
    [
        (None, (2,)),  # GPT-2 puts nothing before a text, so the prompt begins with </s>
        ("<s> $A", (0,)),  # Llama
        ("</s> $A", (2,)),  # XGLM
        ("</s> <s> $A", (2, 0)),
        ("$A </s>", (2,)),  # the token after a text does not count
        ("<s> $A </s>", (0,)),
    ],
)
def test_prompt_begins_with_the_first_tokens_of_the_tokenizer(template, begin):
    tokenizer = _word_tokenizer(template, eos_token="</s>", pad_token="<pad>")
    assert Prompt.of(tokenizer) == Prompt(begin=begin, end=2, pad=1)


def test_prompt_pads_with_the_end_if_there_is_no_padding_token():
    assert Prompt.of(_word_tokenizer(eos_token="</s>")) == Prompt(begin=(2,), end=2, pad=2)


def test_prompt_needs_an_end_token():
    with pytest.raises(InputError, match="end-of-sequence"):
        Prompt.of(_word_tokenizer(pad_token="<pad>"))


def test_parts_of_a_prompt():
    prompt = Prompt(begin=(0,), end=2, pad=1)
    assert prompt.source([7, 8]) == [0, 7, 8, 2]
    assert prompt.target([9]) == [9, 2]
    assert prompt.source([]) == [0, 2]


def test_sentences_are_encoded_without_special_tokens(tokenizer):
    sentences = ["one two", "fünf"]
    encoded = examples.encode(tokenizer, sentences)
    assert [tokenizer.decode(row) for row in encoded] == sentences
    assert [tokenizer(sentence)["input_ids"][1:] for sentence in sentences] == encoded


def test_equal_sentences_have_equal_keys(tokenizer):
    pairs = Examples.encoded(tokenizer, ["one", "two", "one", "six"], ["eins", "zwei", "ein", "zwei"])
    source, target = pairs.keys.T
    assert source[0] == source[2]
    assert len(set(source)) == 3
    assert target[1] == target[3]
    assert len(set(target)) == 3


def test_sentences_that_look_the_same_have_equal_keys(tokenizer):
    pairs = Examples.encoded(tokenizer, ["one", "\u200bone", "two"], ["eins", "ei\u00adns", "Eins"])
    assert pairs.keys[0].tolist() == pairs.keys[1].tolist() != pairs.keys[2].tolist()
    assert len(set(pairs.keys[:, 1])) == 2


def test_item_has_ids_and_keys():
    pairs = Examples([[4, 5], [6]], [[7], [8, 9]], np.array([[0, 1], [1, 0]]))
    assert len(pairs) == 2
    assert pairs[1] == {"source": [6], "target": [8, 9], "source_key": 1, "target_key": 0}
    assert pairs.lengths() == [3, 3]


EDGES = Examples([[], [4, 5, 6], [], [7], []], [[8], [], [9, 10], [11], []], np.arange(10).reshape(5, 2))


@pytest.mark.parametrize("name", ["examples", "edges"])
def test_saved_pairs_are_loaded_unchanged(tmp_path, request, name):
    pairs = EDGES if name == "edges" else request.getfixturevalue(name)
    pairs.save(tmp_path / "split.safetensors")
    loaded = Examples.load(tmp_path / "split.safetensors")
    assert (loaded.source, loaded.target) == (pairs.source, pairs.target)
    assert [loaded[i] for i in range(len(loaded))] == [pairs[i] for i in range(len(pairs))]
    assert type(loaded[0]["target"][0]) is int


def test_same_pairs_give_the_same_file(tmp_path, tokenizer, pairs):
    for name in ("a", "b"):
        Examples.encoded(tokenizer, *pairs).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    Examples.encoded(tokenizer, pairs[1], pairs[0]).save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_within_keeps_pairs_up_to_the_limit():
    pairs = Examples([[1] * 3, [1] * 2, [1] * 6], [[2] * 3, [2] * 3, [2]], np.array([[0, 0], [1, 1], [2, 2]]))
    assert pairs.lengths() == [6, 5, 7]
    short = pairs.within(6)
    assert short.lengths() == [6, 5]
    assert [short[i]["source_key"] for i in range(2)] == [0, 1]
    assert pairs.within(5)[0] == pairs[1]
    assert len(pairs.within(4)) == 0


def test_pairs_by_length():
    pairs = Examples([[1] * 3, [1] * 2, [1] * 6], [[2] * 3, [2] * 3, [2]], np.array([[0, 0], [1, 1], [2, 2]]))
    assert pairs.by_length().lengths() == [5, 6, 7]
    assert pairs.by_length()[0] == pairs[1]


# Decoding


def _unigram(texts, normalizer=None, **options):
    """Return a tokenizer like XGLM's, Unigram with Metaspace, trained on `texts`."""
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=["</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", **options)


TOKENISED = ["the word ' social ' here", "it is n't so , he said .", "we 've , they 're ; you 'm ?", "« 10 . 5 » !"]


def test_decoding_keeps_the_spaces_of_tokenised_text():
    tokenizer = _unigram(TOKENISED, clean_up_tokenization_spaces=True)
    rows = examples.encode(tokenizer, TOKENISED)
    assert [tokenizer.decode(row) for row in rows] != TOKENISED  # the tokenizer itself removes spaces
    assert examples.decode(tokenizer, rows) == TOKENISED


def test_decoded_text_is_in_normal_form():
    texts = ["für Übung", "dağ", "한국어"]
    tokenizer = _unigram(texts, normalizers.NFD())
    assert examples.decode(tokenizer, examples.encode(tokenizer, texts)) == texts
    assert tokenizer.decode(examples.encode(tokenizer, texts)[0]) != texts[0]


def test_special_tokens_are_not_decoded(tokenizer):
    (ids,) = examples.encode(tokenizer, ["eins zwei"])
    assert examples.decode(tokenizer, [[2, *ids, 2, 1], []]) == ["eins zwei", ""]


# Text that looks like a special token


def test_special_tokens_in_a_text_are_text(tokenizer):
    ids = examples.encode(tokenizer, ["one <s>two</s> <pad>"])[0]
    assert not {0, 1, 2} & set(ids)
    assert tokenizer.decode(ids) == "one <s>two</s> <pad>"
