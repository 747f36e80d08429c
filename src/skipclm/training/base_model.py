"""The base model: from the hub, from a folder, or a small one trained from scratch on single sentences."""

import random
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    XGLMConfig,
    XGLMForCausalLM,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from skipclm.config.runs import CONTEXT
from skipclm.data import bpe
from skipclm.data.examples import Prompt, encode
from skipclm.errors import InputError, naming, suggestion
from skipclm.models import loading, model_folder, modeling, tokenizer_loading
from skipclm.models.decoders import find_blocks, fuse_attention
from skipclm.runtime.snapshots import Snapshots
from skipclm.training import training_loop

SHORTEST_CONTEXT = 16  # tokens


def fetch(source: str, revision: str | None, layers: int | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a decoder and its tokenizer from the hub or a folder.

    Raises an `InputError` if there is no usable model, or if its number of blocks differs from `layers`.
    """
    source = str(model_folder.expand(source)) if model_folder.is_folder(source) else source
    with naming("model.source"):
        model = loading.load(source, revision=revision)
        tokenizer = tokenizer_loading.load_tokenizer(source, revision=revision)
        Prompt.of(tokenizer)
    if isinstance(model, modeling.SkipCLMForCausalLM):
        raise InputError(f"model.source: expected a plain decoder, found {source}, which has a skip; name its base")
    with naming("model.source"):
        _check_context(model)
        _check_finite(model)
        _check_causal(model)
        _check_ids(model, tokenizer)
    depth = len(find_blocks(model))
    if layers not in (None, depth):
        raise InputError(f"model.layers: expected {depth}, the depth of {source}; found {layers}")
    return model, tokenizer


@torch.inference_mode()
def _check_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise an `InputError` if a token of the tokenizer has no embedding or no logit."""
    prompt = Prompt.of(tokenizer)
    highest = max(*tokenizer.get_vocab().values(), *prompt.begin, prompt.end, prompt.pad)
    rows = min(model.get_input_embeddings().weight.shape[0], model.get_output_embeddings().weight.shape[0])
    if highest >= rows:
        raise InputError(
            f"expected an embedding for each of the tokenizer's tokens, numbered up to {highest}, found {rows}; "
            "choose a model with its own tokenizer"
        )
    try:
        model(torch.tensor([[highest]], device=model.device), use_cache=False)
    except IndexError as error:
        raise InputError(
            f"expected a model that reads all of the tokenizer's tokens, found that it fails at number {highest}: a "
            "further table of embeddings is smaller; choose a model with its own tokenizer"
        ) from error


def _check_context(model: PreTrainedModel) -> None:
    """Raise an `InputError` for a model with a context that is too short for the checks."""
    context = modeling.context(model)
    if context is not None and context < SHORTEST_CONTEXT:
        raise InputError(
            f"expected a model that reads at least {SHORTEST_CONTEXT} tokens, found one that reads {context}; choose "
            "another"
        )


def _check_finite(model: PreTrainedModel) -> None:
    """Raise an `InputError` for weights that are not finite, and for NaN in buffers."""
    weights = {name for name, _ in model.named_parameters()}
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all() and (name in weights or tensor.isnan().any()):
            raise InputError(f"expected weights that are finite numbers, found others in {name}; save the model again")


@torch.inference_mode()
def _check_causal(model: PreTrainedModel) -> None:
    """Raise an `InputError` if the logits at a token depend on later tokens."""
    try:
        logits = [model(torch.tensor([[5, 6, last]], device=model.device)).logits[0, 0] for last in (7, 8)]
    except Exception as error:  # an architecture may raise any error here
        raise InputError(
            f"expected a decoder that reads plain text, found that one of type {model.config.model_type} fails "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); choose another"
        ) from error
    if not all(tensor.isfinite().all() for tensor in logits):
        raise InputError("expected logits that are finite numbers, found others; save the model again")
    if not torch.allclose(*logits, rtol=1e-4, atol=1e-5):
        raise InputError(
            f"expected a causal decoder, found one of type {model.config.model_type}, where a token depends on "
            "later tokens; choose another"
        )


def sample(sentences: Iterable[str], share: float, seed: int) -> list[str]:
    """Return a `share` of the distinct sentences, shuffled with the seed."""
    distinct = sorted(set(sentences))
    random.Random(seed).shuffle(distinct)
    return distinct[: round(share * len(distinct))]


def from_scratch(
    texts: dict[str, list[str]], settings: dict, folder: str | Path, snapshots: Snapshots | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[dict]]:
    """Train tokenizer and decoder on single sentences; `texts` has them by language.

    `settings` is the section `model.scratch` of the configuration, with a share for each language. The Trainer writes
    to `folder`; with `snapshots`, the training resumes from the newest one. Returns the model, the tokenizer and the
    history of the loss. Raises an `InputError` if the text is shorter than a batch.
    """
    seed = settings["seed"]
    sampled = [s for name in texts for s in sample(texts[name], settings["share"].get(name, 1.0), seed)]
    random.Random(seed).shuffle(sampled)
    # As in XGLM, the vocabulary covers all languages equally, while the shares in the training text differ.
    sentences = [s for name in texts for s in sample(texts[name], 1.0, seed)]
    tokenizer = bpe.train(sentences, settings["vocabulary"], CONTEXT)
    transformers.set_seed(seed)
    model = XGLMForCausalLM(architecture(settings, len(tokenizer)))
    fuse_attention(model)
    return model, tokenizer, _train(model, Blocks(tokenizer, sampled), settings, folder, snapshots)


def _train(
    model: PreTrainedModel, blocks: "Blocks", settings: dict, folder: str | Path, snapshots: Snapshots | None
) -> list[dict]:
    """Train the language model in place and return its history."""
    batch_size = settings["batch_tokens"] // Blocks.LENGTH
    if len(blocks) < batch_size:
        raise InputError(
            f"model.scratch: expected at least {settings['batch_tokens']} tokens of text to train on, "
            f"found {len(blocks) * Blocks.LENGTH}; give more text or lower batch_tokens"
        )
    options = {key: settings[key] for key in ("steps", "learning_rate")}
    options |= {"batch_size": batch_size}
    trainer = training_loop.TrainingLoop(
        LanguageModel(model), folder, settings["seed"], options, snapshots=snapshots, train_dataset=blocks
    )
    trainer.run()
    model.eval()
    if trainer.diverged():
        raise InputError(
            f"model.scratch.learning_rate: expected a rate at which the loss stays finite, found "
            f"{settings['learning_rate']}; lower it"
        )
    return trainer.history()


def architecture(settings: dict, vocabulary: int) -> XGLMConfig:
    """Return an XGLM configuration with the sizes of `model.scratch`."""
    return XGLMConfig(
        vocab_size=vocabulary,
        d_model=settings["width"],
        ffn_dim=4 * settings["width"],
        num_layers=settings["layers"],
        attention_heads=settings["heads"],
        max_position_embeddings=CONTEXT,
        init_std=settings["width"] ** -0.5,  # 0.02, the value of XGLM, is too small for narrow models
        dropout=0.0,  # small models underfit on little text in few steps
        attention_dropout=0.0,
    )


def untrained(
    architecture: str, sentences: Iterable[str], layers: int, width: int, heads: int, vocabulary: int, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Make a small decoder of any architecture of transformers, with random weights and a tokenizer for the sentences.

    Raises an `InputError` for an architecture that is not a decoder in transformers.
    """
    if architecture not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(
            f"expected a decoder's model_type, such as llama, gpt2 or xglm, found {architecture!r}; "
            f"{suggestion(architecture, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}"
        )
    if width % (2 * heads):
        raise InputError(
            f"expected a width that is a multiple of {2 * heads}, twice the {heads} heads, found {width}; change one"
        )
    tokenizer = bpe.train(sentences, vocabulary, CONTEXT)
    sizes = {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    transformers.set_seed(seed)
    try:
        model = AutoModelForCausalLM.from_config(configuration_with_sizes(architecture, sizes))
        _check_causal(model.eval())
    except Exception as error:  # an architecture may raise any error for unsuitable sizes
        raise InputError(
            f"expected an architecture that can be made by these sizes, but {architecture}: {error}"
        ) from error
    find_blocks(model)  # raises an error before the model is saved
    return model, tokenizer


def configuration_with_sizes(architecture: str, sizes: dict[str, int]) -> PreTrainedConfig:
    """Return a configuration with these sizes, and sizes derived from them, for the decoder of an architecture."""
    default = AutoConfig.for_model(architecture)
    decoder = default.get_text_config()
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    # Architectures have some of these, under different names.
    derived = {
        "intermediate_size": 4 * width,
        "ffn_dim": 4 * width,
        "word_embed_proj_dim": width,
        "head_dim": width // heads,
        "num_key_value_heads": heads,
    }
    known = decoder.to_dict()
    settings = {name: value for name, value in derived.items() if name in known} | sizes
    if decoder is not default:  # it is one part of the model, for example beside a vision part
        settings = {"text_config": settings | {"model_type": decoder.model_type}}
    return AutoConfig.for_model(architecture, **settings)


class Blocks(torch.utils.data.Dataset):
    """Sentences, each after a `</s>`, concatenated and cut into blocks of `LENGTH` tokens."""

    LENGTH = 128

    def __init__(self, tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> None:
        rows = encode(tokenizer, sentences) if sentences else []
        ids = torch.tensor([token for row in rows for token in (tokenizer.eos_token_id, *row)], dtype=torch.long)
        self.rows = ids[: len(ids) // self.LENGTH * self.LENGTH].view(-1, self.LENGTH)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class LanguageModel(nn.Module):
    """A language model with the outputs that `TrainingLoop` expects."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the mean loss over blocks (rows, tokens) and the number of tokens."""
        loss = self.model(input_ids=input_ids, labels=labels, use_cache=False).loss
        return {"loss": loss, "tokens": torch.tensor(input_ids.numel())}
