"""What differs between decoders: where the blocks are, how to run the lower ones, and how states become logits.

Layer k is the residual stream after block k.
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

# Where the blocks are in a decoder that does not have one list of modules as long as it is deep, by its model_type.
BLOCKS = {
    "longcat_flash": "model.layers",  # counts the two halves of each block
}
# The names that configurations give to the weight of the router loss.
ROUTER_WEIGHTS = ("router_aux_loss_coef", "aux_loss_coef")


def find_stack(decoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the decoder's list of blocks and its path: the one list that is as long as the model is deep.

    Raises a `ValueError` for a model with no such list, or several.
    """
    kind, depth = decoder.config.model_type, getattr(decoder.config.get_text_config(), "num_hidden_layers", None)
    if kind in BLOCKS:
        return BLOCKS[kind], decoder.get_submodule(BLOCKS[kind])
    modules = decoder.named_modules()
    lists = {path: module for path, module in modules if isinstance(module, nn.ModuleList) and len(module) == depth}
    if len(lists) != 1:
        raise ValueError(
            f"{type(decoder).__name__}: expected one list of {depth or 'num_hidden_layers'} blocks, found "
            f"{', '.join(lists) or 'none'}; add {kind!r} with the path of its blocks, such as 'model.layers', to "
            "BLOCKS in skipclm/models/decoders.py"
        )
    return lists.popitem()


def find_blocks(decoder: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder's blocks; raises a `ValueError` where `find_stack` does."""
    return find_stack(decoder)[1]


def body_of(decoder: PreTrainedModel) -> nn.Module:
    """Return the decoder without its head, which ends in the final states; raises where `find_stack` does."""
    # base_model_prefix says the same, in most models.
    return decoder.get_submodule(find_stack(decoder)[0].partition(".")[0])


def first_blocks(decoder: PreTrainedModel, count: int) -> nn.Module:
    """Return the decoder without head and upper blocks; it shares all else with the original, hooks included.

    Make it anew for each pass: what it does not share are flags such as training mode.
    """
    path, blocks = find_stack(decoder)
    return _replaced(decoder, path, blocks[:count]).get_submodule(path.partition(".")[0])


def embedded(decoder: PreTrainedModel, *ids: Tensor) -> list[PreTrainedModel]:
    """Return the decoder once for each of `ids` (rows, tokens), which that copy embeds by what is looked up here.

    All are looked up at once, for the gradient of a lookup is as large as the vocabulary, however few the tokens.
    """
    embedding = decoder.get_input_embeddings()
    path = next(path for path, module in decoder.named_modules() if module is embedding)
    vectors = embedding(torch.cat([each.flatten() for each in ids])).split([each.numel() for each in ids])
    return [
        _replaced(decoder, path, _looked_up(embedding, part.view(*each.shape, -1)))
        for each, part in zip(ids, vectors, strict=True)
    ]


def _looked_up(embedding: nn.Module, vectors: Tensor) -> nn.Module:
    copied = copy(embedding)
    copied.forward = lambda _: vectors
    return copied


class Head:
    """What the decoder makes of final states: its own code from there on, with whatever scales or caps the logits.

    `weights` are the trained parameters that this code can use: all outside the body, and those of the output matrix,
    which may be tied to the embeddings.
    """

    def __init__(self, decoder: PreTrainedModel) -> None:
        path = find_stack(decoder)[0].split(".")[:-1]
        self.decoder, self.output = decoder, _States()
        for depth in range(len(path), 0, -1):  # the body, and what is within it on the way to the blocks
            self.decoder = _replaced(self.decoder, ".".join(path[:depth]), self._stub(path[:depth]))
        inside = {id(weight) for weight in body_of(decoder).parameters()}
        outside = [weight for weight in decoder.parameters() if id(weight) not in inside]
        usable = {id(weight): weight for weight in (*outside, *decoder.get_output_embeddings().parameters())}
        self.weights = [weight for weight in usable.values() if weight.requires_grad]

    def _stub(self, path: list[str]) -> nn.Module:
        """Return a copy of a module whose forward pass returns the given output; its attributes stay readable."""
        stub = copy(self.decoder.get_submodule(".".join(path)))
        stub.forward = lambda *inputs, **named: self.output
        stub._forward_hooks, stub._forward_pre_hooks = OrderedDict(), OrderedDict()
        return stub

    def __call__(self, states: Tensor) -> Tensor:
        """Map final states (n, width) to logits (n, vocabulary)."""
        self.output = _States(last_hidden_state=states.unsqueeze(0))
        ids = torch.zeros((1, len(states)), dtype=torch.long, device=states.device)
        return self.decoder(input_ids=ids).logits.squeeze(0)

    def router_loss(self, output: BaseModelOutput, mask: Tensor) -> Tensor | None:
        """Return what a mixture of experts adds to its loss so that its experts are used alike, a scalar.

        `output` is the body's, `mask` (batch, tokens) is 1 at tokens and 0 at padding. None if the configuration does
        not ask for it (`output_router_logits`).
        """
        settings = self.decoder.config.get_text_config()
        weights = [getattr(settings, name) for name in ROUTER_WEIGHTS if hasattr(settings, name)]
        wants_loss = weights and getattr(settings, "output_router_logits", False)
        if not wants_loss or getattr(output, "router_logits", None) is None:
            return None
        self.output = _States(last_hidden_state=output.last_hidden_state[:, :1], router_logits=output.router_logits)
        whole = self.decoder(input_ids=mask.long()[:, :1], attention_mask=mask, output_router_logits=True)
        loss = getattr(whole, "aux_loss", None)
        return None if loss is None else weights[0] * loss


@dataclass
class _States(BaseModelOutput):
    """Final states and router logits, and nothing of what else a stack may return, such as caches and attention."""

    router_logits: tuple[Tensor, ...] | None = None

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


def _replaced(module: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """Return `module` with `part` at `path`: a copy of the modules on the way, which share all others."""
    name, _, rest = path.partition(".")
    copied = copy(module)
    copied._modules = module._modules | {name: _replaced(module._modules[name], rest, part) if rest else part}
    return copied


def state_of(output: Tensor | tuple) -> Tensor:
    """Return the residual stream from a block's output, a tensor or a tuple that starts with it."""
    return output if isinstance(output, Tensor) else output[0]


def input_of(inputs: tuple, named: dict) -> Tensor:
    """Return the residual stream among a block's positional and named arguments."""
    return inputs[0] if inputs else named["hidden_states"]


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


class FusedXGLMAttention(XGLMAttention):
    """XGLM's self-attention by `scaled_dot_product_attention`, which transformers lacks for it."""

    def forward(
        self,
        hidden_states: Tensor,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        **named: object,
    ) -> tuple[Tensor, None]:
        """Map states (batch, tokens, width) to what attention adds to them; the weights are not returned."""
        shape = (*hidden_states.shape[:2], self.num_heads, self.head_dim)
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (project(hidden_states).view(shape).transpose(1, 2) for project in projections)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        dropout = self.dropout if self.training else 0.0
        attend = ALL_ATTENTION_FUNCTIONS["sdpa"]
        attended, _ = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        return self.out_proj(attended.flatten(2)), None


def fuse_attention(decoder: PreTrainedModel) -> None:
    """Give an XGLM decoder, in place, the fused attention that other decoders have from transformers."""
    if decoder.config.model_type != "xglm" or decoder.config.add_cross_attention:
        return
    decoder.config._attn_implementation = "sdpa"  # so that masks are made for it
    for module in decoder.modules():
        if type(module) is XGLMAttention:
            module.__class__ = FusedXGLMAttention


def omit_router_loss(decoder: PreTrainedModel) -> None:
    """Switch off the router loss of a mixture of experts: transformers fails to compute it while it generates."""
    settings = decoder.config.get_text_config()
    if getattr(settings, "output_router_logits", False):
        settings.output_router_logits = False


@contextmanager
def router_loss_omitted(decoder: PreTrainedModel) -> Iterator[None]:
    """Switch off the router loss while the block runs."""
    settings = decoder.config.get_text_config()
    before = getattr(settings, "output_router_logits", None)
    omit_router_loss(decoder)
    try:
        yield
    finally:
        if before:
            settings.output_router_logits = before


@torch.inference_mode()
def find_batching(decoder: PreTrainedModel) -> str:
    """Return which prompts a decoder can generate from together, as it does from each of them alone.

    `any`; `equal_length`, since padding on the left changes its states in spite of the attention mask, as it does in
    some recurrent decoders; or `single`. Compared are the logits of some steps of `generate`.
    """
    first, other, longer = [7, 6, 5], [5, 8, 6], [8, 5, 7, 6, 5, 8]
    alone = _generation_logits(decoder, [first])
    for name, batch in (("any", [first, longer]), ("equal_length", [first, other])):
        if torch.allclose(_generation_logits(decoder, batch), alone, rtol=0.0, atol=1e-3 * float(alone.std())):
            return name
    return "single"


def _generation_logits(decoder: PreTrainedModel, prompts: list[list[int]]) -> Tensor:
    """Return the logits (steps, vocabulary) of what follows the first of the prompts, in a batch of all."""
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
def has_sortable_cache(decoder: PreTrainedModel) -> bool:
    """Return whether `reorder_cache` puts all that a decoder remembers of a batch into another order.

    Beam search relies on it. Some recurrent decoders keep a part of their states elsewhere. Compared are the logits of
    two steps of `generate`, with the cache in another order and without it.
    """
    if "past_key_values" not in signature(decoder.forward).parameters:
        return False  # generate takes no cache of another name
    ids = torch.tensor([[7, 6, 5], [5, 8, 6], [8, 5, 7]], device=decoder.device)
    first = _generate_steps(decoder, ids, 1)
    cache, order = first.get("past_key_values"), torch.tensor([2, 0, 1], device=decoder.device)
    if not hasattr(cache, "reorder_cache"):
        return False
    cache.reorder_cache(order)
    ids = first.sequences[order]
    sorted_logits = torch.stack(_generate_steps(decoder, ids, 2, past_key_values=cache).logits)
    logits = torch.stack(_generate_steps(decoder, ids, 2).logits)
    return torch.allclose(sorted_logits, logits, rtol=0.0, atol=1e-3 * float(logits.std()))
