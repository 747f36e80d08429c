"""Access to the parts of any decoder: its blocks, its body without the head, its head, and its caches.

The hidden state of layer k is the residual stream after block k.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, ModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.xglm.modeling_xglm import XGLMAttention

# Path of the blocks by model_type, for decoders where num_hidden_layers is not the number of blocks.
BLOCKS = {
    "longcat_flash": "model.layers",  # num_hidden_layers counts two per block
}
# Names of the router loss weight in model configurations.
ROUTER_WEIGHTS = ("router_aux_loss_coef", "aux_loss_coef")


def find_stack(decoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the path and the list of the decoder's blocks: the only `ModuleList` of length `num_hidden_layers`.

    Raises a `ValueError` if there is no such list or more than one.
    """
    model_type = decoder.config.model_type
    if model_type in BLOCKS:
        return BLOCKS[model_type], decoder.get_submodule(BLOCKS[model_type])
    depth = getattr(decoder.config.get_text_config(), "num_hidden_layers", None)
    modules = decoder.named_modules()
    lists = {path: module for path, module in modules if isinstance(module, nn.ModuleList) and len(module) == depth}
    if len(lists) != 1:
        raise ValueError(
            f"{type(decoder).__name__}: expected one list of {depth or 'num_hidden_layers'} blocks, found "
            f"{', '.join(lists) or 'none'}; add {model_type!r} with the path of its blocks, such as 'model.layers', to "
            "BLOCKS in skipclm/models/decoders.py"
        )
    return lists.popitem()


def find_blocks(decoder: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder's blocks; raises a `ValueError` like `find_stack`."""
    return find_stack(decoder)[1]


def body_of(decoder: PreTrainedModel) -> nn.Module:
    """Return the decoder without its head, a module whose output is the final states.

    Raises a `ValueError` like `find_stack`.
    """
    # In most models, but not in all, `base_model_prefix` is the name of this module.
    return decoder.get_submodule(find_stack(decoder)[0].partition(".")[0])


def first_blocks(decoder: PreTrainedModel, count: int) -> nn.Module:
    """Return the body with only the first `count` blocks; it shares weights, submodules and hooks with the decoder.

    Create it again for each forward pass: it does not share flags such as the training mode.
    """
    path, blocks = find_stack(decoder)
    return _replace_module(decoder, path, blocks[:count]).get_submodule(path.partition(".")[0])


def share_lookup(decoder: PreTrainedModel, *ids: Tensor) -> list[PreTrainedModel]:
    """Return one copy of the decoder for each of `ids` (rows, tokens), with the embeddings of these ids precomputed.

    All ids share one embedding lookup, because the gradient of every lookup has the size of the whole embedding matrix.
    The copies share all weights with the decoder.
    """
    embedding = decoder.get_input_embeddings()
    path = next(path for path, module in decoder.named_modules() if module is embedding)
    lookup = embedding(torch.cat([batch.flatten() for batch in ids]))
    vectors = lookup.split([batch.numel() for batch in ids])
    return [
        _replace_module(decoder, path, _constant_embedding(embedding, part.view(*batch.shape, -1)))
        for batch, part in zip(ids, vectors, strict=True)
    ]


def _constant_embedding(embedding: nn.Module, vectors: Tensor) -> nn.Module:
    """Return a copy of an embedding module that returns `vectors` for any ids."""
    copied = copy(embedding)
    copied.forward = lambda _: vectors
    return copied


class Head:
    """The part of the decoder that maps final states to logits, including any scaling or capping of the logits.

    It runs the decoder's own `forward` with a body that returns given states. `weights` are the trainable parameters
    that the head may use: all parameters outside the body, and the output matrix, which may be tied to the embeddings.
    """

    def __init__(self, decoder: PreTrainedModel) -> None:
        path = find_stack(decoder)[0].split(".")[:-1]
        self.decoder, self.output = decoder, _States()
        for depth in range(len(path), 0, -1):  # all modules that contain the blocks, up to the body
            self.decoder = _replace_module(self.decoder, ".".join(path[:depth]), self._stub(path[:depth]))
        body_ids = {id(weight) for weight in body_of(decoder).parameters()}
        outside = [weight for weight in decoder.parameters() if id(weight) not in body_ids]
        head_weights = {id(weight): weight for weight in (*outside, *decoder.get_output_embeddings().parameters())}
        self.weights = [weight for weight in head_weights.values() if weight.requires_grad]

    def _stub(self, path: list[str]) -> nn.Module:
        """Return a copy of a module with the same attributes and a forward pass that returns `self.output`."""
        stub = copy(self.decoder.get_submodule(".".join(path)))
        stub.forward = lambda *args, **kwargs: self.output
        stub._forward_hooks, stub._forward_pre_hooks = OrderedDict(), OrderedDict()
        return stub

    def __call__(self, states: Tensor) -> Tensor:
        """Map final states (n, width) to logits (n, vocabulary)."""
        self.output = _States(last_hidden_state=states.unsqueeze(0))
        ids = torch.zeros((1, len(states)), dtype=torch.long, device=states.device)
        return self.decoder(input_ids=ids).logits.squeeze(0)

    def router_loss(self, output: BaseModelOutput, mask: Tensor) -> Tensor | None:
        """Return the load-balancing loss of a mixture of experts, times its weight in the configuration; a scalar.

        `output` is the output of the body; `mask` (batch, tokens) is 1 at tokens and 0 at padding. Returns None if the
        decoder has no router loss, or if `output_router_logits` is off in its configuration.
        """
        settings = self.decoder.config.get_text_config()
        weights = [getattr(settings, name) for name in ROUTER_WEIGHTS if hasattr(settings, name)]
        wants_loss = weights and getattr(settings, "output_router_logits", False)
        if not wants_loss or getattr(output, "router_logits", None) is None:
            return None
        self.output = _States(last_hidden_state=output.last_hidden_state[:, :1], router_logits=output.router_logits)
        decoder_output = self.decoder(input_ids=mask.long()[:, :1], attention_mask=mask, output_router_logits=True)
        loss = getattr(decoder_output, "aux_loss", None)
        return None if loss is None else weights[0] * loss


@dataclass
class _States(BaseModelOutput):
    """Output of a body with final states and router logits only; other attributes, such as caches, are None."""

    router_logits: tuple[Tensor, ...] | None = None

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


def _replace_module(module: nn.Module, path: str, replacement: nn.Module) -> nn.Module:
    """Return a copy of `module` with `replacement` at `path`.

    Only the modules along the path are copied. All other submodules and all weights are shared.
    """
    name, _, rest = path.partition(".")
    child = _replace_module(module._modules[name], rest, replacement) if rest else replacement
    copied = copy(module)
    copied._modules = module._modules | {name: child}
    return copied


def state_of(output: Tensor | tuple) -> Tensor:
    """Return the residual stream from a block's output: the output itself or the first element of the tuple."""
    return output if isinstance(output, Tensor) else output[0]


def input_of(args: tuple, kwargs: dict) -> Tensor:
    """Return the residual stream from a block's positional and keyword arguments."""
    return args[0] if args else kwargs["hidden_states"]


class Recorder:
    """Context manager that stores the hidden state after block `layer` of the latest forward pass in `state`.

    With layer None it stores nothing.
    """

    def __init__(self, decoder: PreTrainedModel, layer: int | None) -> None:
        self.block = None if layer is None else find_blocks(decoder)[layer - 1]
        self.state: Tensor | None = None

    def __enter__(self) -> "Recorder":
        if self.block is not None:
            self.handle = self.block.register_forward_hook(self._record)
        return self

    def _record(self, block: nn.Module, args: tuple, output: Tensor | tuple) -> None:
        self.state = state_of(output)

    def __exit__(self, *exception: object) -> None:
        if self.block is not None:
            self.handle.remove()


class FusedXGLMAttention(XGLMAttention):
    """XGLM self-attention with `scaled_dot_product_attention`, which transformers does not support for XGLM."""

    def forward(
        self,
        hidden_states: Tensor,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, None]:
        """Map hidden states (batch, tokens, width) to the attention output of the same shape; no attention weights."""
        shape = (*hidden_states.shape[:2], self.num_heads, self.head_dim)
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (project(hidden_states).view(shape).transpose(1, 2) for project in projections)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        dropout = self.dropout if self.training else 0.0
        attention = ALL_ATTENTION_FUNCTIONS["sdpa"]
        output, _ = attention(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        return self.out_proj(output.flatten(2)), None


def fuse_attention(decoder: PreTrainedModel) -> None:
    """Replace the self-attention of an XGLM decoder, in place, by `FusedXGLMAttention`; leave other decoders as is."""
    if decoder.config.model_type != "xglm" or decoder.config.add_cross_attention:
        return
    decoder.config._attn_implementation = "sdpa"  # transformers then creates the masks for it
    for module in decoder.modules():
        if type(module) is XGLMAttention:
            module.__class__ = FusedXGLMAttention


def omit_router_loss(decoder: PreTrainedModel) -> None:
    """Turn off the router loss of a mixture of experts: transformers cannot compute it during generation."""
    settings = decoder.config.get_text_config()
    if getattr(settings, "output_router_logits", False):
        settings.output_router_logits = False


@contextmanager
def router_loss_omitted(decoder: PreTrainedModel) -> Iterator[None]:
    """Context manager that turns off the router loss and restores the setting at exit."""
    settings = decoder.config.get_text_config()
    previous = getattr(settings, "output_router_logits", None)
    omit_router_loss(decoder)
    try:
        yield
    finally:
        if previous:
            settings.output_router_logits = previous


@torch.inference_mode()
def find_batching(decoder: PreTrainedModel) -> str:
    """Return which prompts can share a batch in `generate` without changing the result.

    - `any`: prompts of any length, with padding on the left;
    - `equal_length`: padding changes the result despite the attention mask, as in some recurrent decoders;
    - `single`: any other prompt in the batch changes the result.

    The function compares the logits of a few generation steps with and without a batch.
    """
    first, same_length, longer = [7, 6, 5], [5, 8, 6], [8, 5, 7, 6, 5, 8]
    expected = _generation_logits(decoder, [first])
    tolerance = 1e-3 * float(expected.std())
    for batching, prompts in (("any", [first, longer]), ("equal_length", [first, same_length])):
        if torch.allclose(_generation_logits(decoder, prompts), expected, rtol=0.0, atol=tolerance):
            return batching
    return "single"


def _generation_logits(decoder: PreTrainedModel, prompts: list[list[int]]) -> Tensor:
    """Generate from a batch of prompts; return the logits (steps, vocabulary) for the first prompt."""
    width = max(map(len, prompts))
    ids = torch.tensor([[5] * (width - len(prompt)) + prompt for prompt in prompts], device=decoder.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=decoder.device)
    return torch.stack(_generate_steps(decoder, ids, 4, attention_mask=mask).logits)[:, 0]


def _generate_steps(decoder: PreTrainedModel, ids: Tensor, count: int, **inputs: object) -> ModelOutput:
    """Generate `count` tokens after each row of `ids` (rows, tokens); return sequences, logits and cache."""
    options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False}
    options |= {"return_dict_in_generate": True, "output_logits": True, "attention_mask": torch.ones_like(ids)}
    return decoder.generate(input_ids=ids, **options | inputs)


@torch.inference_mode()
def has_reorderable_cache(decoder: PreTrainedModel) -> bool:
    """Return whether `reorder_cache` reorders the complete state of a decoder, as beam search requires.

    Some recurrent decoders store a part of their state outside the cache. The function compares the logits of two
    generation steps, with a reordered cache and without a cache.
    """
    if "past_key_values" not in signature(decoder.forward).parameters:
        return False  # `generate` accepts the cache only under this name
    ids = torch.tensor([[7, 6, 5], [5, 8, 6], [8, 5, 7]], device=decoder.device)
    first_step = _generate_steps(decoder, ids, 1)
    cache, order = first_step.get("past_key_values"), torch.tensor([2, 0, 1], device=decoder.device)
    if not hasattr(cache, "reorder_cache"):
        return False
    cache.reorder_cache(order)
    ids = first_step.sequences[order]
    logits_with_cache = torch.stack(_generate_steps(decoder, ids, 2, past_key_values=cache).logits)
    logits = torch.stack(_generate_steps(decoder, ids, 2).logits)
    return torch.allclose(logits_with_cache, logits, rtol=0.0, atol=1e-3 * float(logits.std()))
