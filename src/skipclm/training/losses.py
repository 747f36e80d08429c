"""The losses: translation at target tokens, and contrastive ones between sentences and their translations."""

from collections.abc import Callable

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

CHUNK = 512  # rows of logits that exist at a time


def translation_loss(
    states: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor], count: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the next token, summed over the positions whose label is not -100 and divided by `count`.

    `states` (batch, tokens, width) are the decoder's final states, `labels` (batch, tokens) are aligned with its
    input; `count` is by default the number of such positions. `head` maps states (n, width) to logits
    (n, vocabulary), and its `weights` are the parameters it does so by. Only the states that predict a label go
    through it, `CHUNK` at a time: with a large vocabulary it is most of the work and of the memory.
    """
    predicted = labels[:, 1:] != -100
    chosen, wanted = states[:, :-1][predicted], labels[:, 1:][predicted]
    if torch.is_grad_enabled():
        total = _ChunkedCrossEntropy.apply(head, wanted, chosen, *head.weights)
    else:
        total = sum(_summed(head, *chunk) for chunk in zip(chosen.split(CHUNK), wanted.split(CHUNK), strict=True))
    return total / (predicted.sum() if count is None else count)


def _summed(head: Callable[[Tensor], Tensor], states: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(head(states).float(), labels, reduction="sum")


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy, whose gradients are taken chunk by chunk on the way, so that no chunk's logits stay."""

    @staticmethod
    def forward(ctx: object, head: Callable, wanted: Tensor, states: Tensor, *weights: Tensor) -> Tensor:
        """Return the loss of states (n, width) for labels `wanted` (n,), a scalar; keep its gradients."""
        total, state_grads, weight_grads = states.new_zeros((), dtype=torch.float32), [], []
        for chunk, labels in zip(states.split(CHUNK), wanted.split(CHUNK), strict=True):
            # The hooks, which do nothing, are to keep a checkpoint around this from running again for each chunk.
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(_same, _same):
                chunk = chunk.detach().requires_grad_()
                logits = head(chunk)
            # The gradient of cross-entropy is softmax less one at the label; made in place, it takes no more memory.
            table, label = logits.detach().float().log_softmax(dim=-1), labels.unsqueeze(1)
            total -= table.gather(1, label).sum()
            grad = table.exp_().scatter_add_(1, label, table.new_full(label.shape, -1.0))
            inputs = (chunk, *weights)
            state_grad, *grads = torch.autograd.grad(logits, inputs, grad.to(logits.dtype), allow_unused=True)
            state_grads.append(state_grad)
            weight_grads = [_added(*both) for both in zip(weight_grads, grads, strict=True)] if weight_grads else grads
        ctx.save_for_backward(torch.cat(state_grads), *weight_grads)
        return total

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the kept gradients, scaled."""
        return None, None, *[saved if saved is None else grad.to(saved.dtype) * saved for saved in ctx.saved_tensors]


def _added(total: Tensor | None, part: Tensor | None) -> Tensor | None:
    """Add a gradient to a total in place; None is the gradient of a weight that was not used."""
    return total if part is None else part if total is None else total.add_(part)


def _same(tensor: Tensor) -> Tensor:
    return tensor


def pool(states: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of states (batch, tokens, width) by weights (batch, tokens): (batch, width)."""
    # Half precision would lose what tells one average from another.
    with torch.autocast(states.device.type, enabled=False):
        return (weights.unsqueeze(1) @ states.float()).squeeze(1)


def cosines(sources: Tensor, targets: Tensor) -> Tensor:
    """Return the cosine similarities (rows, columns) of vectors (rows, width) and (columns, width)."""
    # Half precision cannot tell similarities near one apart, and a temperature magnifies what it loses.
    with torch.autocast(sources.device.type, enabled=False):
        return F.normalize(sources.float(), dim=-1) @ F.normalize(targets.float(), dim=-1).T


def info_nce(
    sources: Tensor, targets: Tensor, temperature: float, same: Tensor | None = None, directions: str = "both"
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) over cosine similarities, a scalar.

    Row i of `sources` and `targets` (batch, width) is a pair; the other rows are its negatives, except where `same`
    (batch, batch) is true: those share a sentence with the pair and are left out. `directions` says what looks for
    its counterpart: `source_to_target`, `target_to_source`, or `both`, whose mean is taken.
    """
    similarities = _without(cosines(sources, targets) / temperature, same)
    pairs = torch.arange(len(similarities), device=similarities.device)
    return _mean_of(directions, similarities, lambda table: F.cross_entropy(table, pairs))


def triplet(
    sources: Tensor, targets: Tensor, margin: float, same: Tensor | None = None, directions: str = "both"
) -> Tensor:
    """Margin loss over Euclidean distances, a scalar: max(0, margin + |anchor - positive| - |anchor - negative|).

    The translation is the positive, each other row a negative; the mean over all triples is taken. Arguments are
    those of `info_nce`. With no negatives the loss is zero.
    """
    with torch.autocast(sources.device.type, enabled=False):
        # By matrix products it would be faster, and lose all that is small beside the vectors' length.
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(sources.float(), targets.float(), compute_mode=exact)
    negatives = ~torch.eye(len(sources), dtype=torch.bool, device=sources.device)
    if same is not None:
        negatives &= ~same

    def mean_over_triples(table: Tensor) -> Tensor:
        hinges = (margin + table.diagonal()[:, None] - table).clamp(min=0)
        return (hinges * negatives).sum() / negatives.sum().clamp(min=1)

    return _mean_of(directions, distances, mean_over_triples)


def retrieval_accuracy(sources: Tensor, targets: Tensor, same: Tensor | None = None) -> Tensor:
    """Return the share of sentences, of both sides, that are nearest to their own translation by cosine.

    Arguments are those of `info_nce`.
    """
    similarities = _without(cosines(sources, targets), same)
    pairs = torch.arange(len(similarities), device=similarities.device)
    return _mean_of("both", similarities, lambda table: (table.argmax(dim=1) == pairs).float().mean())


def _without(similarities: Tensor, same: Tensor | None) -> Tensor:
    """Put what is marked as the same in a table (batch, batch) out of reach, but for the pairs themselves."""
    if same is None:
        return similarities
    return similarities.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), float("-inf"))


def _mean_of(directions: str, table: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """Measure the table (sources, targets), its transpose, or take the mean of both."""
    tables = {"source_to_target": [table], "target_to_source": [table.T], "both": [table, table.T]}[directions]
    return sum(measure(each) for each in tables) / len(tables)


def shared_sentences(source_keys: Tensor, target_keys: Tensor) -> Tensor:
    """Tell which pairs share a source or a target sentence: keys (batch,) give a symmetric (batch, batch)."""
    return (source_keys[:, None] == source_keys) | (target_keys[:, None] == target_keys)


def contrastive(sources: Tensor, targets: Tensor, keys: tuple[Tensor, Tensor], settings: dict) -> tuple[Tensor, Tensor]:
    """Return the contrastive loss that the settings ask for, and the retrieval accuracy.

    `sources` and `targets` (batch, width) are vectors of pairs, `keys` their source and target keys (batch,). Between
    processes, each brings its own pairs and gets the loss over all of them.
    """
    sources, targets, *keys = (gathered(each) for each in (sources, targets, *keys))
    same = shared_sentences(*keys)
    if settings["loss"] == "triplet":
        loss = triplet(sources, targets, settings["margin"], same, settings["directions"])
    else:
        loss = info_nce(sources, targets, settings["temperature"], same, settings["directions"])
    return loss, retrieval_accuracy(sources.detach(), targets.detach(), same)


def gathered(rows: Tensor) -> Tensor:
    """Return the rows (n, ...) of all processes, end to end in their order; n may differ between them.

    The gradient of each process's rows is the sum of what all processes have for them.
    """
    return _Gathered.apply(rows) if processes() > 1 else rows


def processes() -> int:
    """Return how many processes share the training."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _Gathered(torch.autograd.Function):
    """What `gathered` does, and the way back."""

    @staticmethod
    def forward(ctx: object, rows: Tensor) -> Tensor:
        """Return the rows (n, ...) of all processes: padded to the longest for the way, and cut again."""
        counts = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(processes())]
        distributed.all_gather(counts, torch.tensor(len(rows), device=rows.device))
        ctx.counts = [int(count) for count in counts]
        filled = rows.new_zeros(max(ctx.counts), *rows.shape[1:])
        filled[: len(rows)] = rows
        parts = [torch.empty_like(filled) for _ in ctx.counts]
        distributed.all_gather(parts, filled)
        return torch.cat([part[:count] for part, count in zip(parts, ctx.counts, strict=True)])

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        """Return this process's part of the gradient, summed over processes."""
        grad = grad.contiguous()
        distributed.all_reduce(grad)
        return grad.split(ctx.counts)[distributed.get_rank()]
