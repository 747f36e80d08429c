"""Train a small tokenizer for a new base model, with the special tokens of XGLM."""

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]  # ids 0 to 3, as in XGLM
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train(sentences: Iterable[str], vocabulary: int, max_tokens: int) -> PreTrainedTokenizerFast:
    """Train a byte-pair encoding with at most `vocabulary` entries. Like XGLM's, it puts `</s>` before a text.

    Characters that are not in the training sentences are encoded as bytes, so no token is unknown.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    # Split Chinese, which has no spaces, into characters. Otherwise whole phrases would fill a small vocabulary.
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
    """Make the bytes ordinary tokens. The trainer marks them as special, and decoding skips special tokens."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL_TOKENS]
    return Tokenizer.from_str(json.dumps(state))
