"""The losses equal what explicit loops, transformers and pen and paper say."""

import math

import pytest
import torch

from skipclm import losses


def test_mean_pool_averages_marked_tokens_only():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [90.0, 90.0]], [[70.0, 70.0], [5.0, 6.0], [7.0, 8.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert losses.mean_pool(states, mask).tolist() == [[2.0, 3.0], [6.0, 7.0]]


def _cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def _info_nce_in_loops(sources, targets, temperature, left_out=()):
    """Average -log(e(i, i) / sum of e(i, j)) over rows and columns; `left_out` holds (i, j) without a term."""
    rows, count = [sources.tolist(), targets.tolist()], len(sources)
    total = 0.0
    for anchors, others in (rows, rows[::-1]):
        for i in range(count):
            terms = {j: math.exp(_cosine(anchors[i], others[j]) / temperature) for j in range(count)}
            total -= math.log(terms[i] / sum(term for j, term in terms.items() if (i, j) not in left_out))
    return total / (2 * count)


def test_info_nce_worked_out_by_hand():
    # similarities are 1 with the translation and 0 with the other; halving the temperature doubles them:
    # -log(e^2 / (e^2 + e^0)) = log(1 + e^-2) in every row and column
    loss = losses.info_nce(torch.eye(2), torch.eye(2), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))
    # the worst case: each source is nearest to the other's translation
    loss = losses.info_nce(torch.eye(2), torch.eye(2).flip(0), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(2)))


def test_info_nce_equals_loops():
    sources, targets = torch.randn(5, 7), torch.randn(5, 7)
    expected = _info_nce_in_loops(sources, targets, 0.3)
    assert losses.info_nce(sources, targets, 0.3).item() == pytest.approx(expected, rel=1e-5)
    one_way = torch.nn.functional.cosine_similarity(sources[:, None], targets, dim=-1).div(0.3).log_softmax(1)
    assert expected != pytest.approx(-one_way.diagonal().mean().item(), rel=1e-3)  # both directions count


def test_info_nce_knows_no_length_and_no_order_of_roles():
    sources, targets = torch.randn(4, 6), torch.randn(4, 6)
    loss = losses.info_nce(sources, targets, 0.1)
    torch.testing.assert_close(losses.info_nce(3 * sources, 0.2 * targets, 0.1), loss)
    torch.testing.assert_close(losses.info_nce(targets, sources, 0.1), loss)


def test_pairs_that_share_a_sentence_are_no_negatives():
    sources, targets = torch.randn(5, 7), torch.randn(5, 7)
    sources[3] = sources[1]
    same = losses.shared_sentences(torch.tensor([0, 1, 2, 1, 4]), torch.arange(5))
    expected = _info_nce_in_loops(sources, targets, 0.3, left_out={(1, 3), (3, 1)})
    assert losses.info_nce(sources, targets, 0.3, same).item() == pytest.approx(expected, rel=1e-5)
    assert losses.info_nce(sources, targets, 0.3).item() > expected + 0.01


def test_masked_duplicate_leaves_the_loss_of_the_pair_alone():
    # pairs 1 and 2 repeat pair 0, so none of the three has a negative left
    sources, targets = torch.randn(1, 7).expand(3, 7), torch.randn(1, 7).expand(3, 7)
    same = torch.ones(3, 3, dtype=torch.bool)
    assert losses.info_nce(sources, targets, 0.1, same).item() == 0.0
    assert losses.info_nce(sources, targets, 0.1).item() == pytest.approx(math.log(3))


def test_gradients_stay_finite_where_negatives_are_masked():
    sources = torch.randn(3, 7, requires_grad=True)
    losses.info_nce(sources, torch.randn(3, 7), 0.1, torch.ones(3, 3, dtype=torch.bool)).backward()
    assert sources.grad.tolist() == torch.zeros(3, 7).tolist()


def test_shared_sentences_on_either_side():
    # pairs 0 and 1 share the source, 1 and 2 the target, 3 is alone; 0 and 2 share nothing
    same = losses.shared_sentences(torch.tensor([0, 0, 1, 2]), torch.tensor([5, 6, 6, 7]))
    assert same.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


def test_translation_loss_is_that_of_transformers(decoder, ids):
    labels = ids.clone()
    labels[0, :4] = labels[1, :7] = labels[2, 9:] = -100
    states = decoder.base_model(ids).last_hidden_state
    loss = losses.translation_loss(states, labels, decoder.get_output_embeddings())
    torch.testing.assert_close(loss, decoder(ids, labels=labels).loss)


def test_translation_loss_of_an_even_guess_is_the_log_of_the_vocabulary():
    labels = torch.tensor([[-100, 3, 4], [-100, -100, 5]])
    loss = losses.translation_loss(torch.randn(2, 3, 8), labels, lambda states: torch.zeros(len(states), 50))
    assert loss.item() == pytest.approx(math.log(50))


def test_only_states_that_predict_a_label_reach_the_head():
    states = torch.arange(6.0).view(2, 3, 1)
    labels = torch.tensor([[-100, 0, 1], [-100, -100, 1]])  # predicted from the states 0, 1 and 4
    seen = []
    losses.translation_loss(
        states, labels, lambda chosen: seen.extend(chosen.flatten().tolist()) or chosen.repeat(1, 2)
    )
    assert seen == [0.0, 1.0, 4.0]


def test_translation_loss_is_taken_in_full_precision():
    logits = torch.randn(2, 2000).bfloat16()
    labels = torch.tensor([[-100, 7, 9]])
    loss = losses.translation_loss(torch.zeros(1, 3, 4).bfloat16(), labels, lambda states: logits)
    expected = torch.nn.functional.cross_entropy(logits.float(), torch.tensor([7, 9]))
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()
