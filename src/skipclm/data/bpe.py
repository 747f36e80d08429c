"""A small tokenizer for a base model from scratch, with XGLM's special tokens."""

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]  # ids 0 to 3, as XGLM has them
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train(sentences: Iterable[str], vocabulary: int, max_tokens: int) -> PreTrainedTokenizerFast:
    """Train a byte-pair encoding of at most `vocabulary` entries; like XGLM's, it puts `</s>` before a text.

    Characters that the sentences lack are encoded as bytes, so nothing is ever unknown.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    # Without spaces between words, Chinese would otherwise fill a small vocabulary with whole phrases.
    characters = pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [characters, pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=SPECIAL_TOKENS + BYTES,
            max_token_length=16,
            show_progress=False,
        ),
    )
    tokenizer = _with_plain_bytes(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=max_tokens,
    )


def _with_plain_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """Make the bytes ordinary entries: the trainer marks them as special, and special ones are lost in decoding."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL_TOKENS]
    return Tokenizer.from_str(json.dumps(state))
