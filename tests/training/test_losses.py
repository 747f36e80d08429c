"""The losses against explicit loops, transformers and values worked out by hand."""

import math

import pytest
import torch

from skipclm.models.decoders import Head
from skipclm.training import losses


def test_pool_is_a_weighted_sum():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [90.0, 90.0]], [[70.0, 70.0], [5.0, 6.0], [7.0, 8.0]]])
    weights = torch.tensor([[0.5, 0.5, 0], [0, 0.25, 0.75]])
    assert losses.pool(states, weights).tolist() == [[2.0, 3.0], [6.5, 7.5]]


def test_pool_computes_in_full_precision():
    states = torch.full((1, 300, 1), 1.0).bfloat16()
    states[0, 0] = 3.0
    with torch.autocast("cpu", torch.bfloat16):
        pooled = losses.pool(states, torch.full((1, 300), 1 / 300))
    assert pooled.item() == pytest.approx(302 / 300)


@pytest.mark.parametrize(
    "measure",
    [losses.cosines, lambda a, b: losses.info_nce(a, b, 0.01), lambda a, b: losses.triplet(a, b, 0.1)],
    ids=["cosines", "info_nce", "triplet"],
)
def test_autocast_does_not_change_the_losses(measure):
    vectors = 1 + 0.01 * torch.randn(2, 6, 300)  # similar to each other, like the states of one layer
    expected = measure(*vectors)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(measure(*vectors), expected)
    half = [side.bfloat16() for side in vectors]
    torch.testing.assert_close(measure(*half), measure(*[side.float() for side in half]))


def _cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def _info_nce_in_loops(sources, targets, temperature, left_out=()):
    """Average -log(e(i, i) / sum of e(i, j)) over rows and columns; pairs (i, j) in `left_out` are skipped."""
    rows, count = [sources.tolist(), targets.tolist()], len(sources)
    total = 0.0
    for anchors, others in (rows, rows[::-1]):
        for i in range(count):
            terms = {j: math.exp(_cosine(anchors[i], others[j]) / temperature) for j in range(count)}
            total -= math.log(terms[i] / sum(term for j, term in terms.items() if (i, j) not in left_out))
    return total / (2 * count)


def test_info_nce_worked_out_by_hand():
    # the similarity is 1 with the translation and 0 with the other; the temperature of 0.5 doubles it:
    # -log(e^2 / (e^2 + e^0)) = log(1 + e^-2) in every row and column
    loss = losses.info_nce(torch.eye(2), torch.eye(2), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))
    # the worst case: each source is most similar to the translation of the other
    loss = losses.info_nce(torch.eye(2), torch.eye(2).flip(0), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(2)))


def test_info_nce_equals_loops():
    sources, targets = torch.randn(5, 7), torch.randn(5, 7)
    expected = _info_nce_in_loops(sources, targets, 0.3)
    assert losses.info_nce(sources, targets, 0.3).item() == pytest.approx(expected, rel=1e-5)
    one_way = torch.nn.functional.cosine_similarity(sources[:, None], targets, dim=-1).div(0.3).log_softmax(1)
    assert expected != pytest.approx(-one_way.diagonal().mean().item(), rel=1e-3)  # both directions count


@pytest.mark.parametrize(("direction", "axis"), [("source_to_target", 1), ("target_to_source", 0)])
def test_info_nce_in_one_direction(direction, axis):
    sources, targets = torch.randn(5, 7), torch.randn(5, 7)
    similarities = torch.nn.functional.cosine_similarity(sources[:, None], targets, dim=-1)
    expected = -similarities.div(0.3).log_softmax(axis).diagonal().mean()
    torch.testing.assert_close(losses.info_nce(sources, targets, 0.3, directions=direction), expected)


def test_info_nce_does_not_depend_on_lengths_or_order_of_sides():
    sources, targets = torch.randn(4, 6), torch.randn(4, 6)
    loss = losses.info_nce(sources, targets, 0.1)
    torch.testing.assert_close(losses.info_nce(3 * sources, 0.2 * targets, 0.1), loss)
    torch.testing.assert_close(losses.info_nce(targets, sources, 0.1), loss)


def test_pairs_that_share_a_sentence_are_not_negatives():
    sources, targets = torch.randn(5, 7), torch.randn(5, 7)
    sources[3] = sources[1]
    same = losses.shared_sentences(torch.tensor([0, 1, 2, 1, 4]), torch.arange(5))
    expected = _info_nce_in_loops(sources, targets, 0.3, left_out={(1, 3), (3, 1)})
    assert losses.info_nce(sources, targets, 0.3, same).item() == pytest.approx(expected, rel=1e-5)
    assert losses.info_nce(sources, targets, 0.3).item() > expected + 0.01


def test_masked_duplicates_do_not_change_the_loss_of_a_pair():
    # pairs 1 and 2 repeat pair 0, so that no pair has a negative
    sources, targets = torch.randn(1, 7).expand(3, 7), torch.randn(1, 7).expand(3, 7)
    same = torch.ones(3, 3, dtype=torch.bool)
    assert losses.info_nce(sources, targets, 0.1, same).item() == 0.0
    assert losses.info_nce(sources, targets, 0.1).item() == pytest.approx(math.log(3))


def test_gradients_stay_finite_where_negatives_are_masked():
    sources = torch.randn(3, 7, requires_grad=True)
    losses.info_nce(sources, torch.randn(3, 7), 0.1, torch.ones(3, 3, dtype=torch.bool)).backward()
    assert sources.grad.tolist() == torch.zeros(3, 7).tolist()


def test_triplet_worked_out_by_hand():
    # distances to the two targets: source 0 has 3 and 5, source 1 has 1 and 1; the pairs have 3 and 1
    sources, targets = torch.tensor([[0.0], [4.0]]), torch.tensor([[3.0], [5.0]])
    source_loss = ((1 + 3 - 5 if 1 + 3 > 5 else 0) + (1 + 1 - 1)) / 2
    target_loss = ((1 + 3 - 1) + (1 + 1 - 5 if 1 + 1 > 5 else 0)) / 2
    forward, backward = (
        losses.triplet(sources, targets, 1.0, directions=d) for d in ("source_to_target", "target_to_source")
    )
    assert (forward.item(), backward.item()) == pytest.approx((source_loss, target_loss)) == (0.5, 1.5)
    assert losses.triplet(sources, targets, 1.0).item() == pytest.approx(1.0)


def test_triplet_equals_the_margin_loss_of_torch():
    sources, targets = torch.randn(5, 7), torch.randn(5, 7)
    margin = torch.nn.TripletMarginLoss(margin=0.4, eps=0.0)
    terms = [margin(sources[i], targets[i], targets[j]) for i in range(5) for j in range(5) if i != j]
    loss = losses.triplet(sources, targets, 0.4, directions="source_to_target")
    torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)


def test_triplet_is_exact_for_small_distances_between_long_vectors():
    sources = 100 * torch.randn(64, 90)
    targets = sources + 0.01 * torch.randn(64, 90)
    exact = (sources.double() - targets.double()).norm(dim=1)
    hinge = losses.triplet(sources, targets.flip(0), 0.0, directions="source_to_target")
    table = torch.cdist(sources.double(), targets.flip(0).double())
    expected = (table.diagonal()[:, None] - table).clamp(min=0)
    assert exact.max() < 0.2
    assert hinge.item() == pytest.approx(expected.sum().item() / (64 * 63), rel=1e-5)


def test_triplet_ignores_shared_sentences():
    sources, targets = torch.randn(3, 7), torch.randn(3, 7)
    same = losses.shared_sentences(torch.tensor([0, 0, 1]), torch.arange(3))
    table = torch.cdist(sources, targets)
    terms = [max(0.0, 0.4 + table[i, i].item() - table[i, j].item()) for i, j in ((0, 2), (1, 2), (2, 0), (2, 1))]
    loss = losses.triplet(sources, targets, 0.4, same, "source_to_target")
    assert loss.item() == pytest.approx(sum(terms) / 4, rel=1e-4)
    assert losses.triplet(sources, targets, 0.4, torch.ones(3, 3, dtype=torch.bool)).item() == 0.0


def test_triplet_of_equal_vectors_has_a_finite_gradient():
    sources = torch.ones(3, 7, requires_grad=True)
    losses.triplet(sources, torch.ones(3, 7), 0.4).backward()
    assert torch.isfinite(sources.grad).all()


def test_retrieval_accuracy_counts_both_sides():
    # sources 0 and 1 are nearest to their translations, source 2 is nearest to target 0;
    # targets 0 and 1 are nearest to their sources, target 2 is nearest to source 1
    sources = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.2]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 0.9]])
    assert losses.retrieval_accuracy(sources, targets).item() == pytest.approx((2 + 2) / 6)
    assert losses.retrieval_accuracy(sources, sources).item() == 1.0


def test_retrieval_accuracy_ignores_shared_sentences():
    sources, targets = torch.tensor([[1.0, 0.1], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    assert losses.retrieval_accuracy(sources, targets).item() == 0.0
    assert losses.retrieval_accuracy(sources, targets, torch.ones(2, 2, dtype=torch.bool)).item() == 1.0


def test_shared_sentences_on_either_side():
    # pairs 0 and 1 share the source, pairs 1 and 2 the target; no others share a sentence
    same = losses.shared_sentences(torch.tensor([0, 0, 1, 2]), torch.tensor([5, 6, 6, 7]))
    assert same.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


def _head(function):
    """Return a head that applies a function; its logits depend on the states, for the gradient."""

    def head(states):
        return function(states) + 0 * states.sum()

    head.weights = []
    return head


def test_translation_loss_equals_that_of_transformers(decoder, ids):
    labels = ids.clone()
    labels[0, :4] = labels[1, :7] = labels[2, 9:] = -100
    states = decoder.base_model(ids).last_hidden_state
    loss = losses.translation_loss(states, labels, Head(decoder))
    torch.testing.assert_close(loss, decoder(ids, labels=labels).loss)


def test_translation_loss_of_uniform_logits_is_the_log_of_the_vocabulary():
    labels = torch.tensor([[-100, 3, 4], [-100, -100, 5]])
    loss = losses.translation_loss(torch.randn(2, 3, 8), labels, _head(lambda states: torch.zeros(len(states), 50)))
    assert loss.item() == pytest.approx(math.log(50))


def test_only_states_that_predict_a_label_reach_the_head():
    states = torch.arange(6.0).view(2, 3, 1)
    labels = torch.tensor([[-100, 0, 1], [-100, -100, 1]])  # the states 0, 1 and 4 predict them
    seen = []
    losses.translation_loss(
        states, labels, _head(lambda chosen: seen.extend(chosen.flatten().tolist()) or chosen.repeat(1, 2))
    )
    assert seen == [0.0, 1.0, 4.0]


def test_translation_loss_is_computed_in_full_precision():
    logits = torch.randn(2, 2000).bfloat16()
    labels = torch.tensor([[-100, 7, 9]])
    loss = losses.translation_loss(torch.zeros(1, 3, 4).bfloat16(), labels, _head(lambda states: logits))
    expected = torch.nn.functional.cross_entropy(logits.float(), torch.tensor([7, 9]))
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()


def _many(decoder, rows=90):
    """Return states, labels and the loss of torch for more rows than one chunk."""
    states = torch.randn(rows, 9, 32, requires_grad=True)
    labels = torch.randint(0, decoder.config.vocab_size, (rows, 9))
    labels[:, :2] = -100
    logits = decoder.get_output_embeddings()(states[:, :-1])
    return states, labels, torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())


def test_chunks_change_neither_loss_nor_gradients(new_decoder):
    decoder = new_decoder()
    weight = decoder.get_output_embeddings().weight
    states, labels, plain = _many(decoder)
    assert (labels != -100).sum() > losses.CHUNK
    expected = torch.autograd.grad(3 * plain, (states, weight))
    loss = losses.translation_loss(states, labels, Head(decoder))
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(3 * loss, (states, weight)), expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(losses.translation_loss(states, labels, Head(decoder)), plain)


def test_logits_are_computed_in_chunks(new_decoder):
    decoder, seen = new_decoder(), []
    states, labels, _ = _many(decoder)
    decoder.get_output_embeddings().register_forward_hook(lambda *call: seen.append(call[-1].shape[1]))
    losses.translation_loss(states, labels, Head(decoder)).backward()
    assert max(seen) == losses.CHUNK
    assert sum(seen) == (labels != -100).sum()


def test_frozen_head_passes_the_gradient_on(new_decoder):
    decoder = new_decoder("llama", tied=False)
    states, labels, plain = _many(decoder)
    expected = torch.autograd.grad(plain, states)
    decoder.requires_grad_(False)
    loss = losses.translation_loss(states, labels, Head(decoder))
    torch.testing.assert_close(torch.autograd.grad(loss, states), expected)


def test_token_count_of_a_larger_batch_scales_the_loss(new_decoder):
    decoder = new_decoder()
    states, labels, plain = _many(decoder)
    count = 2 * (labels != -100).sum()
    torch.testing.assert_close(losses.translation_loss(states, labels, Head(decoder), count), plain / 2)


def test_loss_without_labels_is_zero(new_decoder):
    loss = losses.translation_loss(
        torch.randn(2, 3, 32, requires_grad=True), torch.full((2, 3), -100), Head(new_decoder()), torch.tensor(5.0)
    )
    assert loss.item() == 0.0
    loss.backward()
