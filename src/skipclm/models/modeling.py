"""A learnable skip connection around any Hugging Face decoder.

The state after block `skip_source` is carried, through a linear map and an activation, to the input of block
`skip_target`.
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

This is a {base} decoder around which skipclm has put a skip connection; config.json says between which blocks. **Load
it with skipclm installed, or the skip is lost and with it what the model learned:**

    import skipclm
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("this folder or repository")
    tokenizer = AutoTokenizer.from_pretrained("this folder or repository")

If skipclm trained it, it translates what stands before an end-of-sequence token, as
`skipclm.evaluation.decoding.translate` has it do:

    from skipclm.data.examples import encode
    from skipclm.evaluation.decoding import translate

    translate(model, tokenizer, encode(tokenizer, ["A sentence."])).texts

Without `import skipclm`, transformers does not know the model type `skipclm`. To load it as a plain {base} is wrong:
its weights lie under other names, so that all of them would be random.
"""


class SkipConnection(nn.Module):
    """gate * activation(linear(state)), zero at the start since the gate is.

    A `learned` gate is a parameter; a `warmup` gate is a buffer that training raises to one. Both are saved.
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
        """Map a state (batch, tokens, width) to what is added further up, of the same shape."""
        if self.normalize:
            state = nn.functional.layer_norm(state, state.shape[-1:])
        return self.gate * self.activation(self.linear(state))


class SkipCLMForCausalLM(PreTrainedModel, GenerationMixin):
    """Any decoder with a skip connection; loading and saving work as for the decoder, which does the generating."""

    config_class = SkipCLMConfig
    base_model_prefix = "decoder"
    supports_gradient_checkpointing = True
    # How to attend is for the decoder to say.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: SkipCLMConfig, decoder: PreTrainedModel | None = None) -> None:
        if config.base is None:
            raise ValueError(
                "expected the configuration of a skip model, found none of its base; use `around` for that"
            )
        attention = config._attn_implementation
        super().__init__(config)
        self.decoder = decoder or AutoModelForCausalLM.from_config(config.base, attn_implementation=attention)
        config.base = self.decoder.config  # the same: what is set in one holds for the other
        self.skip = SkipConnection(
            self.decoder.config.get_text_config().hidden_size,
            config.skip_activation,
            config.skip_normalize,
            config.skip_gate,
        )
        self._no_split_modules = [*(self.decoder._no_split_modules or []), "SkipConnection"]
        self._tied_weights_keys = {
            f"decoder.{copy}": f"decoder.{original}"
            for copy, original in (getattr(self.decoder, "_tied_weights_keys", None) or {}).items()
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
        """Put a fresh skip from block `source` to block `target` around `decoder`.

        The decoder is part of the model from then on, and runs with the skip even if it is called by itself.
        Raises a `ValueError` for a decoder that has a skip, for layers that it has not or that do not lead upwards,
        and for an activation or a gate that there is not.
        """
        if isinstance(decoder, cls) or getattr(decoder, "has_skip", False):
            raise ValueError("skip: expected a decoder without a skip connection, found one that has it; load it anew")
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
        # Initial values set in __init__ do not survive from_pretrained, which builds the model without memory.
        if isinstance(module, SkipConnection):
            # A state of unit variance stays one, and XGLM's width of 1024 gives 0.03, near the paper's 0.02.
            init.normal_(module.linear.weight, std=module.linear.in_features**-0.5)
            init.zeros_(module.linear.bias)
            init.zeros_(module.gate)

    @classmethod
    def is_custom_code(cls) -> bool:
        """Return False: for other code than its own, transformers leaves out buffers that a container initialises."""
        return False

    def _connect(self) -> None:
        """Have block `skip_source` leave its state and block `skip_target` add what the skip makes of it."""
        blocks, source, target = find_blocks(self.decoder), self.config.skip_source, self.config.skip_target
        if not 1 <= source < target <= len(blocks):
            raise ValueError(f"skip: expected 1 <= source < target <= {len(blocks)}, found {source} and {target}")
        self.decoder.has_skip = True
        blocks[source - 1].register_forward_hook(self._carry)
        blocks[target - 1].register_forward_pre_hook(self._add, with_kwargs=True)

    def _carry(self, block: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
        self._carried = state_of(output)

    def _add(self, block: nn.Module, inputs: tuple, named: dict) -> tuple[tuple, dict]:
        added = self.skip(self._carried)
        state = input_of(inputs, named)
        state = state + added.to(state.device)  # the blocks may be spread over several
        if inputs:
            return (state, *inputs[1:]), named
        return inputs, named | {"hidden_states": state}

    def __getstate__(self) -> dict:
        # The carried state belongs to a pass, and to its graph: a copy of the model is one without it.
        return {name: value for name, value in self.__dict__.items() if name != "_carried"}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **named: object,
    ) -> object:
        """Run the decoder; inputs and output are the decoder's own."""
        return self.decoder(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **named)

    @property
    def accepts_loss_kwargs(self) -> bool:
        """Tell the Trainer whether the decoder divides its loss by the number of tokens that it is given."""
        usual = any(each.kind == each.VAR_KEYWORD for each in signature(self.decoder.forward).parameters.values())
        return getattr(self.decoder, "accepts_loss_kwargs", usual)

    def generate(self, *inputs: object, **named: object) -> Tensor:
        """Generate with the decoder; the skip works token by token, so its cache needs nothing new."""
        return self.decoder.generate(*inputs, **named)

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The decoder's defaults of generation."""
        return self.decoder.generation_config if "decoder" in self._modules else None

    @generation_config.setter
    def generation_config(self, value: GenerationConfig | None) -> None:
        if "decoder" in self._modules:  # PreTrainedModel sets one before there is a decoder
            self.decoder.generation_config = value

    def save_pretrained(self, save_directory: str | Path, **options: object) -> None:
        """Save as any model of transformers, with a model card that says how to load it."""
        super().save_pretrained(save_directory, **options)
        if options.get("is_main_process", True):
            self._write_card(Path(save_directory, "README.md"))

    def _upload_modified_files(self, working_dir: str | Path, *where: object, **options: object) -> object:
        # For an upload, transformers has just put a form or the repository's own card in the place of ours.
        self._write_card(Path(working_dir, "README.md"))
        return super()._upload_modified_files(working_dir, *where, **options)

    def _write_card(self, path: Path) -> None:
        """Write the model card; what somebody has written there stays, and what it lacks is added."""
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

    def resize_token_embeddings(self, *size: object, **options: object) -> nn.Module:
        """Resize the decoder's vocabulary, in its configuration too; see there."""
        return self.decoder.resize_token_embeddings(*size, **options)


AutoModelForCausalLM.register(SkipCLMConfig, SkipCLMForCausalLM, exist_ok=True)


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the plain decoder within `model`, which may or may not have a skip connection."""
    return model.decoder if isinstance(model, SkipCLMForCausalLM) else model


def context(model: PreTrainedModel) -> int | None:
    """Return how many tokens the decoder reads at most, None if its configuration names no limit."""
    return context_of(decoder_of(model).config)


def context_of(config: PreTrainedConfig) -> int | None:
    """Return what `context` does, from the decoder's configuration alone."""
    text = config.get_text_config()
    return getattr(text, "max_position_embeddings", getattr(text, "max_seq_len", None))  # the latter is MPT's
