"""A learnable skip connection around any Hugging Face decoder.

Layer k is the residual stream after block k. The state after block `skip_source` is carried, through a linear map and
an activation, to the input of block `skip_target`.
"""

from copy import copy
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN

from skipclm.errors import InputError


class SkipCLMConfig(PreTrainedConfig):
    """The base decoder's configuration and the place and form of the skip connection."""

    model_type = "skipclm"

    def __init__(
        self,
        base: dict | None = None,
        skip_source: int = 1,
        skip_target: int = 2,
        skip_activation: str = "gelu",
        skip_normalize: bool = True,
        skip_gate: str = "learned",
        **kwargs: object,
    ) -> None:
        self.base = base
        self.skip_source = skip_source
        self.skip_target = skip_target
        self.skip_activation = skip_activation
        self.skip_normalize = skip_normalize
        self.skip_gate = skip_gate
        super().__init__(**kwargs)

    def base_config(self) -> PreTrainedConfig:
        """Return the configuration of the decoder that the skip connection is put around."""
        settings = dict(self.base)
        return AutoConfig.for_model(settings.pop("model_type"), **settings)


class SkipConnection(nn.Module):
    """gate * activation(linear(state)), zero at the start since the gate is.

    A `learned` gate is a parameter; a `warmup` gate is a buffer that training raises to one. Both are saved.
    """

    def __init__(self, width: int, activation: str, normalize: bool, gate: str) -> None:
        super().__init__()
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


class SkipCLMForCausalLM(PreTrainedModel):
    """Any decoder with a skip connection; loading and saving work as for the decoder, which does the generating."""

    config_class = SkipCLMConfig
    base_model_prefix = "decoder"
    supports_gradient_checkpointing = True

    def __init__(self, config: SkipCLMConfig, decoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.decoder = decoder or AutoModelForCausalLM.from_config(config.base_config())
        self.skip = SkipConnection(
            self.decoder.config.hidden_size, config.skip_activation, config.skip_normalize, config.skip_gate
        )
        self._tied_weights_keys = {
            f"decoder.{copy}": f"decoder.{original}"
            for copy, original in (getattr(self.decoder, "_tied_weights_keys", None) or {}).items()
        }
        self.post_init()
        self._connect()

    @classmethod
    def around(cls, decoder: PreTrainedModel, source: int, target: int, **skip: object) -> "SkipCLMForCausalLM":
        """Put a fresh skip from block `source` to block `target` around `decoder`, whose weights are shared.

        `skip` may hold `skip_activation`, `skip_normalize` and `skip_gate`. Raises an `InputError` for layers that
        the decoder has not or that do not lead upwards.
        """
        depth = len(find_blocks(decoder))
        if not 1 <= source < target <= depth:
            raise InputError(f"skip: expected 1 <= source < target <= {depth}, found {source} and {target}")
        config = SkipCLMConfig(
            base=decoder.config.to_dict(),
            skip_source=source,
            skip_target=target,
            pad_token_id=decoder.config.pad_token_id,
            bos_token_id=decoder.config.bos_token_id,
            eos_token_id=decoder.config.eos_token_id,
            tie_word_embeddings=decoder.config.tie_word_embeddings,
            **skip,
        )
        return cls(config, decoder)

    def _init_weights(self, module: nn.Module) -> None:
        # Initial values set in __init__ do not survive from_pretrained, which builds the model without memory.
        if isinstance(module, SkipConnection):
            # A state of unit variance stays one, and XGLM's width of 1024 gives 0.03, near the paper's 0.02.
            init.normal_(module.linear.weight, std=module.linear.in_features**-0.5)
            init.zeros_(module.linear.bias)
            init.zeros_(module.gate)

    def _connect(self) -> None:
        """Have block `skip_source` leave its state and block `skip_target` add what the skip makes of it."""
        blocks = find_blocks(self.decoder)
        blocks[self.config.skip_source - 1].register_forward_hook(self._carry)
        blocks[self.config.skip_target - 1].register_forward_pre_hook(self._add, with_kwargs=True)

    def _carry(self, block: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
        self._carried = state_of(output)

    def _add(self, block: nn.Module, inputs: tuple, named: dict) -> tuple[tuple, dict]:
        added = self.skip(self._carried)
        if inputs:
            return (inputs[0] + added, *inputs[1:]), named
        return inputs, named | {"hidden_states": named["hidden_states"] + added}

    def __getstate__(self) -> dict:
        # The carried state belongs to a pass, and to its graph: a copy of the model is one without it.
        return {name: value for name, value in self.__dict__.items() if name != "_carried"}

    def forward(self, *inputs: object, **named: object) -> object:
        """Run the decoder; inputs and output are the decoder's own."""
        return self.decoder(*inputs, **named)

    def generate(self, *inputs: object, **named: object) -> Tensor:
        """Generate with the decoder; the skip works token by token, so its cache needs nothing new."""
        return self.decoder.generate(*inputs, **named)

    def get_input_embeddings(self) -> nn.Module:
        """Return the decoder's token embeddings."""
        return self.decoder.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """Return the decoder's head."""
        return self.decoder.get_output_embeddings()


AutoConfig.register("skipclm", SkipCLMConfig)
AutoModelForCausalLM.register(SkipCLMConfig, SkipCLMForCausalLM)


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the plain decoder within `model`, which may or may not have a skip connection."""
    return model.decoder if isinstance(model, SkipCLMForCausalLM) else model


def find_blocks(decoder: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder's stack of blocks: the one list of modules as long as the model is deep.

    Raises an `InputError` for a model without such a list.
    """
    depth = decoder.config.num_hidden_layers
    lists = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise InputError(f"{type(decoder).__name__}: expected a list of {depth} blocks, found none")
    return lists[0]


def first_blocks(decoder: PreTrainedModel, count: int) -> PreTrainedModel:
    """Return the decoder without head and upper blocks; it shares all else with the original, hooks included.

    Make it anew for each pass: what it does not share are flags such as training mode.
    """
    blocks = find_blocks(decoder)

    def shortened(module: nn.Module) -> nn.Module:
        """Copy the modules on the way to the blocks, and share the others."""
        if module is blocks:
            return blocks[:count]
        copied = copy(module)
        copied._modules = {
            name: shortened(child) if blocks in set(child.modules()) else child
            for name, child in module._modules.items()
        }
        return copied

    return shortened(decoder.base_model)


def logits_of(decoder: PreTrainedModel, states: Tensor) -> Tensor:
    """Return the logits (n, vocabulary) of final states (n, width), scaled and capped as the decoder does it."""
    config = decoder.config
    logits = decoder.get_output_embeddings()(states)
    if getattr(config, "logit_scale", None):  # Cohere
        logits = logits * config.logit_scale
    if getattr(config, "final_logit_softcapping", None):  # Gemma
        logits = torch.tanh(logits / config.final_logit_softcapping) * config.final_logit_softcapping
    return logits


def state_of(output: Tensor | tuple) -> Tensor:
    """Return the residual stream from a block's output, a tensor or a tuple that starts with it."""
    return output if isinstance(output, Tensor) else output[0]


class Recorder:
    """Remember the state after one block in each forward pass within a `with`; with no layer, remember nothing."""

    def __init__(self, decoder: PreTrainedModel, layer: int | None) -> None:
        self.block = None if layer is None else find_blocks(decoder)[layer - 1]
        self.state: Tensor | None = None

    def __enter__(self) -> "Recorder":
        if self.block is not None:
            self.handle = self.block.register_forward_hook(self._record)
        return self

    def _record(self, block: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
        self.state = state_of(output)

    def __exit__(self, *error: object) -> None:
        if self.block is not None:
            self.handle.remove()


def context(model: PreTrainedModel) -> int | None:
    """Return how many tokens the decoder reads at most, None if its configuration names no limit."""
    return getattr(decoder_of(model).config, "max_position_embeddings", None)


def load(folder: str | Path, **options: object) -> PreTrainedModel:
    """Load a decoder, with or without a skip, from a folder or the hub.

    `options` go to `from_pretrained`. Raises an `InputError` where there is no decoder to load.
    """
    try:
        # The checkpoint's own number format would be kept otherwise; training wants full precision.
        options = {"dtype": torch.float32, "output_loading_info": True} | options
        model, loaded = AutoModelForCausalLM.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder}: expected a Hugging Face decoder, but it cannot be loaded: {error}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise InputError(
            f"{folder}: expected weights for the whole model, found none for {', '.join(missing[:3])}"
            f"{' ...' if len(missing) > 3 else ''}; correct config.json, or save the model anew"
        )
    return model
