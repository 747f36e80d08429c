"""What differs between decoders: where the blocks are, how to run the lower ones, and how states become logits.

Layer k is the residual stream after block k.
"""

from copy import copy

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.xglm.modeling_xglm import XGLMAttention

from .errors import InputError

# Where the blocks are in a decoder that does not have one list of modules as long as it is deep, by its model_type.
BLOCKS = {
    "longcat_flash": "model.layers",  # counts the two halves of each block
}


def find_stack(decoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the decoder's list of blocks and its path: the one list that is as long as the model is deep.

    Raises an `InputError` for a model with no such list, or several.
    """
    kind, depth = decoder.config.model_type, getattr(decoder.config.get_text_config(), "num_hidden_layers", None)
    if kind in BLOCKS:
        return BLOCKS[kind], decoder.get_submodule(BLOCKS[kind])
    modules = decoder.named_modules()
    lists = {path: module for path, module in modules if isinstance(module, nn.ModuleList) and len(module) == depth}
    if len(lists) != 1:
        raise InputError(
            f"{type(decoder).__name__}: expected one list of {depth or 'num_hidden_layers'} blocks, found "
            f"{', '.join(lists) or 'none'}; add {kind!r} with the path of its blocks, such as 'model.layers', to "
            "BLOCKS in skipclm/decoders.py"
        )
    return lists.popitem()


def find_blocks(decoder: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder's blocks; raises an `InputError` where `find_stack` does."""
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
    """What the decoder makes of final states: its own code from there on, with whatever scales or caps the logits."""

    def __init__(self, decoder: PreTrainedModel) -> None:
        body, *inner = find_stack(decoder)[0].split(".")[:-1]
        self.states = _Given(inner)
        self.decoder = _replaced(decoder, body, self.states)
        self.weights = [w for w in decoder.get_output_embeddings().parameters() if w.requires_grad]

    def __call__(self, states: Tensor) -> Tensor:
        """Map final states (n, width) to logits (n, vocabulary)."""
        self.states.value = states.unsqueeze(0)
        return self.decoder(input_ids=torch.zeros(states.shape[:1], dtype=torch.long).unsqueeze(0)).logits.squeeze(0)


class _Given(nn.Module):
    """Stands in for a decoder's body whose final states are known, and for what is within by the names of `inner`."""

    def __init__(self, inner: list[str]) -> None:
        super().__init__()
        for name in inner:
            object.__setattr__(self, name, self)  # not as a part of itself, which would have no end

    def forward(self, *inputs: object, **named: object) -> "_States":
        return _States(last_hidden_state=self.value)


class _States(BaseModelOutput):
    """Final states, and nothing of what else a stack may return: caches, attention, a router's logits."""

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
