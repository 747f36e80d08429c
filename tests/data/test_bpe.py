"""The small tokenizer: special tokens as in XGLM, and no unknown characters."""

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


def test_special_tokens_are_those_of_xglm(tokenizer):
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]
    special = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert special == (0, 1, 2, 3)
    assert tokenizer.model_max_length == 64


def test_text_begins_with_one_end_token(tokenizer):
    ids = tokenizer("x")["input_ids"]
    assert ids[0] == 2
    assert ids.count(2) == 1
    assert ids[1:] == tokenizer("x", add_special_tokens=False)["input_ids"]


def test_frequent_words_are_one_token(tokenizer):
    assert len(tokenizer("fünf seven")["input_ids"]) == 3


@pytest.mark.parametrize("text", FOREIGN)
def test_any_text_survives_encoding_and_decoding(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert 3 not in ids
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", FOREIGN)
def test_decoding_without_special_tokens_keeps_unseen_characters(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_unseen_character_is_encoded_as_bytes(tokenizer):
    ids = tokenizer("学", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[1:] == ["<0xE5>", "<0xAD>", "<0xA6>"]


def test_characters_are_composed(tokenizer):
    assert tokenizer("fu\u0308nf")["input_ids"] == tokenizer("f\u00fcnf")["input_ids"]


def test_vocabulary_has_at_most_the_requested_size(pairs):
    # 4 special tokens, 256 bytes and some pieces; the toy pair has only 20 words, so a large vocabulary stays unfilled
    assert len(tokenizers.train(pairs[0], 290, 64)) == 290
    assert 290 < len(tokenizers.train(pairs[0], 5000, 64)) < 400


def test_same_text_gives_the_same_tokenizer(pairs):
    one, other = (tokenizers.train(pairs[0] + pairs[1], 400, 64).backend_tokenizer.to_str() for _ in range(2))
    assert one == other


def test_saved_tokenizer_is_loaded_unchanged(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in FOREIGN:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"], skip_special_tokens=True) == text
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.model_max_length) == (2, 1, 64)
