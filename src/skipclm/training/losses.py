"""The losses: translation at target tokens, and contrastive losses between sentences and their translations."""

from collections.abc import Callable

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

CHUNK = 512  # rows of logits in memory at a time


def translation_loss(
    states: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor], count: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the next token, summed over the positions whose label is not -100 and divided by `count`.

    `states` (batch, tokens, width) are the final states of the decoder, and `labels` (batch, tokens) are aligned with
    its input. `count` defaults to the number of these positions. `head` maps states (n, width) to logits
    (n, vocabulary); its `weights` are its parameters. Only states that predict a label go through the head, `CHUNK` at
    a time, because a head with a large vocabulary needs most of the time and memory.
    """
    predicted = labels[:, 1:] != -100
    states, labels = states[:, :-1][predicted], labels[:, 1:][predicted]
    if torch.is_grad_enabled():
        total = _ChunkedCrossEntropy.apply(head, labels, states, *head.weights)
    else:
        total = sum(_summed(head, *chunk) for chunk in zip(states.split(CHUNK), labels.split(CHUNK), strict=True))
    return total / (predicted.sum() if count is None else count)


def _summed(head: Callable[[Tensor], Tensor], states: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(head(states).float(), labels, reduction="sum")


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy. The forward pass computes the gradients of each chunk, so its logits can be freed."""

    @staticmethod
    def forward(ctx: object, head: Callable, labels: Tensor, states: Tensor, *weights: Tensor) -> Tensor:
        """Return the loss, a scalar, of states (n, width) for labels (n,); save its gradients."""
        total, state_grads, weight_grads = states.new_zeros((), dtype=torch.float32), [], [None] * len(weights)
        for chunk, chunk_labels in zip(states.split(CHUNK), labels.split(CHUNK), strict=True):
            # Without these hooks, if activation checkpointing is active around this loss, the checkpointed part would
            # be recomputed for each chunk.
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(_identity, _identity):
                chunk = chunk.detach().requires_grad_()
                logits = head(chunk)
            # The gradient of cross-entropy is softmax minus one at the label, computed in place to save memory.
            log_probs, column = logits.detach().float().log_softmax(dim=-1), chunk_labels.unsqueeze(1)
            total -= log_probs.gather(1, column).sum()
            grad = log_probs.exp_().scatter_add_(1, column, log_probs.new_full(column.shape, -1.0))
            inputs = (chunk, *weights)
            state_grad, *grads = torch.autograd.grad(logits, inputs, grad.to(logits.dtype), allow_unused=True)
            state_grads.append(state_grad)
            weight_grads = [_add_grad(*pair) for pair in zip(weight_grads, grads, strict=True)]
        ctx.save_for_backward(torch.cat(state_grads), *weight_grads)
        return total

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the saved gradients, scaled."""
        return None, None, *[saved if saved is None else grad.to(saved.dtype) * saved for saved in ctx.saved_tensors]


def _add_grad(total: Tensor | None, grad: Tensor | None) -> Tensor | None:
    """Add a gradient to a total in place; the gradient of an unused weight is None."""
    if total is None or grad is None:
        return grad if total is None else total
    return total.add_(grad)


def _identity(tensor: Tensor) -> Tensor:
    return tensor


def pool(states: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of states (batch, tokens, width) by weights (batch, tokens): (batch, width)."""
    # In half precision, close averages would become equal.
    with torch.autocast(states.device.type, enabled=False):
        return (weights.unsqueeze(1) @ states.float()).squeeze(1)


def cosines(sources: Tensor, targets: Tensor) -> Tensor:
    """Return the cosine similarities (rows, columns) of vectors (rows, width) and (columns, width)."""
    # In half precision, similarities near one would become equal, and the temperature magnifies the error.
    with torch.autocast(sources.device.type, enabled=False):
        return F.normalize(sources.float(), dim=-1) @ F.normalize(targets.float(), dim=-1).T


def info_nce(
    sources: Tensor, targets: Tensor, temperature: float, same: Tensor | None = None, directions: str = "both"
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) over cosine similarities, a scalar.

    Row i of `sources` and `targets` (batch, width) is a pair, and the other rows are its negatives. If `same[i, j]`
    (batch, batch) is true, pairs i and j share a sentence, and row j is not used as a negative of row i. `directions`
    is `source_to_target`, `target_to_source`, or `both` for the mean of the two.
    """
    similarities = _mask_false_negatives(cosines(sources, targets) / temperature, same)
    pairs = torch.arange(len(similarities), device=similarities.device)
    return _mean_over_directions(directions, similarities, lambda table: F.cross_entropy(table, pairs))


def triplet(
    sources: Tensor, targets: Tensor, margin: float, same: Tensor | None = None, directions: str = "both"
) -> Tensor:
    """Margin loss over Euclidean distances, a scalar: max(0, margin + |anchor - positive| - |anchor - negative|).

    The positive is the translation, and each other row is a negative; the loss is the mean over all triples, or zero
    without negatives. The arguments are those of `info_nce`.
    """
    with torch.autocast(sources.device.type, enabled=False):
        # Matrix products would be faster, but inexact for distances that are small beside the norms.
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(sources.float(), targets.float(), compute_mode=exact)
    negatives = ~torch.eye(len(sources), dtype=torch.bool, device=sources.device)
    if same is not None:
        negatives &= ~same

    def mean_over_triples(table: Tensor) -> Tensor:
        hinges = (margin + table.diagonal()[:, None] - table).clamp(min=0)
        return (hinges * negatives).sum() / negatives.sum().clamp(min=1)

    return _mean_over_directions(directions, distances, mean_over_triples)


def retrieval_accuracy(sources: Tensor, targets: Tensor, same: Tensor | None = None) -> Tensor:
    """Return the share of sentences, source and target, that are closest to their own translation by cosine.

    The arguments are those of `info_nce`.
    """
    similarities = _mask_false_negatives(cosines(sources, targets), same)
    pairs = torch.arange(len(similarities), device=similarities.device)
    return _mean_over_directions("both", similarities, lambda table: (table.argmax(dim=1) == pairs).float().mean())


def _mask_false_negatives(similarities: Tensor, same: Tensor | None) -> Tensor:
    """Set similarities (batch, batch) where `same` is true to minus infinity, except those of the pairs."""
    if same is None:
        return similarities
    return similarities.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), float("-inf"))


def _mean_over_directions(directions: str, table: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the measure of the table (sources, targets), of its transpose, or the mean of both."""
    tables = {"source_to_target": [table], "target_to_source": [table.T], "both": [table, table.T]}[directions]
    return sum(map(measure, tables)) / len(tables)


def shared_sentences(source_keys: Tensor, target_keys: Tensor) -> Tensor:
    """Return which pairs share a source or a target sentence, (batch, batch), from their keys (batch,)."""
    return (source_keys[:, None] == source_keys) | (target_keys[:, None] == target_keys)


def contrastive(sources: Tensor, targets: Tensor, keys: tuple[Tensor, Tensor], settings: dict) -> tuple[Tensor, Tensor]:
    """Return the contrastive loss of the settings, and the retrieval accuracy.

    `sources` and `targets` (batch, width) are the vectors of the pairs, and `keys` are their source and target keys
    (batch,). With several processes, each passes its own pairs and gets the loss over all pairs.
    """
    sources, targets, *keys = map(gathered, (sources, targets, *keys))
    same = shared_sentences(*keys)
    if settings["loss"] == "triplet":
        loss = triplet(sources, targets, settings["margin"], same, settings["directions"])
    else:
        loss = info_nce(sources, targets, settings["temperature"], same, settings["directions"])
    return loss, retrieval_accuracy(sources.detach(), targets.detach(), same)


def gathered(rows: Tensor) -> Tensor:
    """Return the rows (n, ...) of all processes, concatenated in their order; n may differ between processes.

    The gradient of the rows of a process is the sum of their gradients in all processes.
    """
    return _Gather.apply(rows) if processes() > 1 else rows


def processes() -> int:
    """Return the number of processes of the training."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _Gather(torch.autograd.Function):
    """The operation of `gathered`, with its gradient."""

    @staticmethod
    def forward(ctx: object, rows: Tensor) -> Tensor:
        """Return the rows (n, ...) of all processes; they are padded to the largest n for the exchange."""
        counts = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(processes())]
        distributed.all_gather(counts, torch.tensor(len(rows), device=rows.device))
        ctx.counts = [int(count) for count in counts]
        padded = rows.new_zeros(max(ctx.counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ctx.counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, ctx.counts, strict=True)])

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        """Return the gradient of the rows of this process, summed over processes."""
        grad = grad.contiguous()
        distributed.all_reduce(grad)
        return grad.split(ctx.counts)[distributed.get_rank()]
