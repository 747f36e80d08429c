"""The losses: translation at target tokens, and InfoNCE between sentences and their translations."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Average states (batch, tokens, width) over the tokens that `mask` (batch, tokens) marks: (batch, width)."""
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def info_nce(sources: Tensor, targets: Tensor, temperature: float, same: Tensor | None = None) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) over cosine similarities, averaged over both directions.

    Row i of `sources` and `targets` (batch, width) is a pair; the other rows are its negatives, except where `same`
    (batch, batch) is true: those share a sentence with the pair and are left out. Returns a scalar.
    """
    # Half precision cannot tell similarities near one apart, and the temperature magnifies what it loses.
    with torch.autocast(sources.device.type, enabled=False):
        similarities = F.normalize(sources.float(), dim=-1) @ F.normalize(targets.float(), dim=-1).T / temperature
    if same is not None:
        others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
        similarities = similarities.masked_fill(others, float("-inf"))
    pairs = torch.arange(len(similarities), device=similarities.device)
    return (F.cross_entropy(similarities, pairs) + F.cross_entropy(similarities.T, pairs)) / 2


def shared_sentences(source_keys: Tensor, target_keys: Tensor) -> Tensor:
    """Tell which pairs share a source or a target sentence: keys (batch,) give a symmetric (batch, batch)."""
    return (source_keys[:, None] == source_keys) | (target_keys[:, None] == target_keys)


def translation_loss(states: Tensor, labels: Tensor, logits_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean cross-entropy of the next token at the positions whose label is not -100.

    `states` (batch, tokens, width) are the decoder's final states, `labels` (batch, tokens) are aligned with its
    input. `logits_of` maps states (n, width) to logits (n, vocabulary); only the states that predict a label go
    through it, which is most of the work with a large vocabulary.
    """
    predicted = labels[:, 1:] != -100
    return F.cross_entropy(logits_of(states[:, :-1][predicted]).float(), labels[:, 1:][predicted])
