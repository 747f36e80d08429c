"""The small tokenizer has XGLM's special tokens and loses no character, seen in training or not."""

import pytest
from transformers import AutoTokenizer

from skipclm.data import bpe as tokenizers

FOREIGN = [
    "Grüße aus Köln, große Übung",
    "ısırgan İstanbul dağ şöyle",
    "我今天要去学校。",
    "well 😀 👩‍👩‍👧 🇩🇪 done",
    "a <0x41> b",
    "tab\tand  two  spaces",
    "(Yes, no!) – „so“, 10.30?",
]


def test_special_tokens_are_xglms(tokenizer):
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]
    special = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert special == (0, 1, 2, 3)
    assert tokenizer.model_max_length == 64


def test_text_follows_one_end_token(tokenizer):
    ids = tokenizer("x")["input_ids"]
    assert ids[0] == 2
    assert ids.count(2) == 1
    assert ids[1:] == tokenizer("x", add_special_tokens=False)["input_ids"]


def test_frequent_words_are_one_token(tokenizer):
    assert len(tokenizer("fünf seven")["input_ids"]) == 3


@pytest.mark.parametrize("text", FOREIGN)
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert 3 not in ids
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", FOREIGN)
def test_translations_keep_characters_that_training_lacked(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_unseen_character_is_its_bytes(tokenizer):
    ids = tokenizer("学", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[1:] == ["<0xE5>", "<0xAD>", "<0xA6>"]


def test_characters_are_composed(tokenizer):
    assert tokenizer("fu\u0308nf")["input_ids"] == tokenizer("f\u00fcnf")["input_ids"]


def test_vocabulary_is_at_most_as_large_as_asked(pairs):
    # 4 special tokens, 256 bytes, and room for some pieces; the toy pair has but 20 words to fill it with
    assert len(tokenizers.train(pairs[0], 290, 64)) == 290
    assert 290 < len(tokenizers.train(pairs[0], 5000, 64)) < 400


def test_same_text_gives_the_same_tokenizer(pairs):
    one, other = (tokenizers.train(pairs[0] + pairs[1], 400, 64).backend_tokenizer.to_str() for _ in range(2))
    assert one == other


def test_saved_tokenizer_comes_back(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in FOREIGN:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"], skip_special_tokens=True) == text
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.model_max_length) == (2, 1, 64)
