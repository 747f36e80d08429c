"""A learnable skip connection in any Hugging Face decoder.

A linear map and an activation transform the hidden state after block `skip_source`. The result is added to the input of
block `skip_target`.
"""

from inspect import signature
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN

from .configuration import SkipCLMConfig
from .decoders import find_blocks, input_of, state_of

METADATA = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [skipclm, translation]
---
"""
CARD = """
# {base} with a skip connection

This is a {base} decoder with a skip connection that skipclm added. config.json specifies between which blocks the skip
connection runs. **Loading the model requires skipclm. Otherwise the skip connection and everything that the model
learned are lost:**

    import skipclm
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("this folder or repository")
    tokenizer = AutoTokenizer.from_pretrained("this folder or repository")

The prompt of a model trained by skipclm is a source sentence followed by an end-of-sequence token; the model then
generates the translation. `skipclm.evaluation.decoding.translate` builds such prompts:

    from skipclm.data.examples import encode
    from skipclm.evaluation.decoding import translate

    translate(model, tokenizer, encode(tokenizer, ["A sentence."])).texts

Without `import skipclm`, transformers does not know the model type `skipclm`. Do not load the model as a plain {base}:
the names of the weights are different, so all weights would be random.
"""


class SkipConnection(nn.Module):
    """The skip connection: gate * activation(linear(state)), optionally with layer normalisation of the state.

    The gate starts at zero, so an untrained skip adds nothing. A `learned` gate is a parameter; a `warmup` gate is a
    buffer that training raises to one. Both are saved.
    """

    def __init__(self, width: int, activation: str, normalize: bool, gate: str) -> None:
        super().__init__()
        if activation not in ACT2FN or gate not in ("learned", "warmup"):
            raise ValueError(
                f"skip: expected a gate `learned` or `warmup` and an activation of transformers, such as gelu, found "
                f"{gate!r} and {activation!r}"
            )
        self.linear = nn.Linear(width, width)
        self.activation = ACT2FN[activation]
        self.normalize = normalize
        if gate == "learned":
            self.gate = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("gate", torch.zeros(()))

    def forward(self, state: Tensor) -> Tensor:
        """Map a source state (batch, tokens, width) to the tensor added before the target block, of the same shape."""
        if self.normalize:
            state = nn.functional.layer_norm(state, state.shape[-1:])
        return self.gate * self.activation(self.linear(state))


class SkipCLMForCausalLM(PreTrainedModel, GenerationMixin):
    """A decoder with a skip connection; loading, saving and generation work like those of the decoder."""

    config_class = SkipCLMConfig
    base_model_prefix = "decoder"
    supports_gradient_checkpointing = True
    # The decoder itself checks whether it supports an attention implementation.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: SkipCLMConfig, decoder: PreTrainedModel | None = None) -> None:
        if config.base is None:
            raise ValueError(
                "expected a configuration with a base decoder, found one without; create the model with `around`"
            )
        attention = config._attn_implementation
        super().__init__(config)
        self.decoder = decoder or AutoModelForCausalLM.from_config(config.base, attn_implementation=attention)
        config.base = self.decoder.config  # the same object, so that changes apply to both
        self.skip = SkipConnection(
            self.decoder.config.get_text_config().hidden_size,
            config.skip_activation,
            config.skip_normalize,
            config.skip_gate,
        )
        self._no_split_modules = [*(self.decoder._no_split_modules or []), "SkipConnection"]
        self._tied_weights_keys = {
            f"decoder.{tied}": f"decoder.{original}"
            for tied, original in (getattr(self.decoder, "_tied_weights_keys", None) or {}).items()
        }
        self.post_init()
        self._connect()

    @classmethod
    def around(
        cls,
        decoder: PreTrainedModel,
        source: int,
        target: int,
        *,
        activation: str = "gelu",
        normalize: bool = True,
        gate: str = "learned",
    ) -> "SkipCLMForCausalLM":
        """Add a new skip connection from block `source` to block `target` to `decoder`; blocks count from 1.

        The decoder becomes a part of the model. From then on it runs with the skip, even if it is called directly.
        Raises a `ValueError` if the decoder already has a skip, unless 1 <= source < target <= number of blocks, and
        for an unknown activation or gate.
        """
        if isinstance(decoder, cls) or getattr(decoder, "has_skip", False):
            raise ValueError("skip: expected a decoder without a skip connection, found one with it; load it again")
        text = decoder.config.get_text_config()
        config = SkipCLMConfig(
            base=decoder.config,
            skip_source=source,
            skip_target=target,
            skip_activation=activation,
            skip_normalize=normalize,
            skip_gate=gate,
            pad_token_id=text.pad_token_id,
            bos_token_id=text.bos_token_id,
            eos_token_id=text.eos_token_id,
            tie_word_embeddings=getattr(decoder.config, "tie_word_embeddings", False),
        )
        model = cls(config, decoder)
        model.skip.to(decoder.device, decoder.dtype)
        return model

    def _init_weights(self, module: nn.Module) -> None:
        # Values set in __init__ would be lost: from_pretrained creates the model on the meta device.
        if isinstance(module, SkipConnection):
            # The linear map preserves unit variance. For XGLM (width 1024), std is 0.03, close to the paper's 0.02.
            init.normal_(module.linear.weight, std=module.linear.in_features**-0.5)
            init.zeros_(module.linear.bias)
            init.zeros_(module.gate)

    @classmethod
    def is_custom_code(cls) -> bool:
        """Return False.

        If a model counts as custom code, transformers does not initialise buffers, such as the gate, in the
        `_init_weights` of a parent module.
        """
        return False

    def _connect(self) -> None:
        """Register the hooks that store the output of block `skip_source` and add the skip before `skip_target`."""
        blocks, source, target = find_blocks(self.decoder), self.config.skip_source, self.config.skip_target
        if not 1 <= source < target <= len(blocks):
            raise ValueError(f"skip: expected 1 <= source < target <= {len(blocks)}, found {source} and {target}")
        self.decoder.has_skip = True
        blocks[source - 1].register_forward_hook(self._store_state)
        blocks[target - 1].register_forward_pre_hook(self._add_skip, with_kwargs=True)

    def _store_state(self, block: nn.Module, args: tuple, output: Tensor | tuple) -> None:
        self._source_state = state_of(output)

    def _add_skip(self, block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        addition = self.skip(self._source_state)
        state = input_of(args, kwargs)
        state = state + addition.to(state.device)  # the two blocks may be on different devices
        if args:
            return (state, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": state}

    def __getstate__(self) -> dict:
        # The stored state belongs to one forward pass and its autograd graph, so copies of the model do not have it.
        return {name: value for name, value in self.__dict__.items() if name != "_source_state"}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **kwargs: object,
    ) -> object:
        """Run the decoder; arguments and output are those of the decoder's `forward`."""
        return self.decoder(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **kwargs)

    @property
    def accepts_loss_kwargs(self) -> bool:
        """Whether the decoder accepts the total number of tokens as the divisor of its loss; the Trainer reads this."""
        parameters = signature(self.decoder.forward).parameters.values()
        has_kwargs = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters)
        return getattr(self.decoder, "accepts_loss_kwargs", has_kwargs)

    def generate(self, *args: object, **kwargs: object) -> Tensor:
        """Generate with the decoder; the skip works on each token separately, so it needs no cache."""
        return self.decoder.generate(*args, **kwargs)

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The generation config of the decoder."""
        return self.decoder.generation_config if "decoder" in self._modules else None

    @generation_config.setter
    def generation_config(self, value: GenerationConfig | None) -> None:
        if "decoder" in self._modules:  # PreTrainedModel.__init__ sets it before the decoder exists
            self.decoder.generation_config = value

    def save_pretrained(self, save_directory: str | Path, **kwargs: object) -> None:
        """Save the model like any model of transformers, and add a model card that says how to load it."""
        super().save_pretrained(save_directory, **kwargs)
        if kwargs.get("is_main_process", True):
            self._write_card(Path(save_directory, "README.md"))

    def _upload_modified_files(self, working_dir: str | Path, *args: object, **kwargs: object) -> object:
        # Before an upload, transformers overwrites the card with a template or with the card of the repository.
        self._write_card(Path(working_dir, "README.md"))
        return super()._upload_modified_files(working_dir, *args, **kwargs)

    def _write_card(self, path: Path) -> None:
        """Write the model card; to a card that a user wrote, append how to load the model, if this is missing."""
        text = path.read_text(encoding="utf-8") if path.exists() else METADATA
        if "automatically generated" in text:
            text = METADATA
        if "import skipclm" not in text:
            path.write_text(text + CARD.format(base=self.config.base.model_type), encoding="utf-8")

    def get_input_embeddings(self) -> nn.Module:
        """Return the decoder's token embeddings."""
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's token embeddings."""
        self.decoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the decoder's head."""
        return self.decoder.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's head."""
        self.decoder.set_output_embeddings(value)

    def resize_token_embeddings(self, *args: object, **kwargs: object) -> nn.Module:
        """Resize the decoder's token embeddings, and the vocabulary size in its configuration."""
        return self.decoder.resize_token_embeddings(*args, **kwargs)


AutoModelForCausalLM.register(SkipCLMConfig, SkipCLMForCausalLM, exist_ok=True)


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the decoder inside a model with a skip connection; a plain decoder is returned as is."""
    return model.decoder if isinstance(model, SkipCLMForCausalLM) else model


def context(model: PreTrainedModel) -> int | None:
    """Return the context length of the decoder in tokens; None if its configuration has no limit."""
    return context_of(decoder_of(model).config)


def context_of(config: PreTrainedConfig) -> int | None:
    """Return the context length in tokens from the decoder's configuration; None if it has no limit."""
    text = config.get_text_config()
    return getattr(text, "max_position_embeddings", getattr(text, "max_seq_len", None))  # max_seq_len in MPT
