"""Batches: padding, labels, pooling weights, and their order in training."""

import itertools

import pytest
import torch

from skipclm.data import batching
from skipclm.data.batching import Collator, LengthGroupedBatches
from skipclm.data.examples import Prompt


def test_batch_worked_out_by_hand():
    items = [
        {"source": [11, 12], "target": [21, 22, 23], "source_key": 5, "target_key": 6},
        {"source": [13], "target": [24], "source_key": 7, "target_key": 6},
    ]
    batch = Collator(Prompt(begin=(0,), end=2, pad=1))(items)
    third = pytest.approx(1 / 3)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[0, 11, 12, 2, 21, 22, 23, 2], [0, 13, 2, 24, 2, 1, 1, 1]],
        "labels": [[-100, -100, -100, -100, 21, 22, 23, 2], [-100, -100, -100, 24, 2, -100, -100, -100]],
        "source_weights": [[0, 0.5, 0.5, 0], [0, 1, 0, 0]],
        "target_ids": [[0, 21, 22, 23, 2], [0, 24, 2, 1, 1]],
        "target_weights": [[0, third, third, third, 0], [0, 1, 0, 0, 0]],
        "source_key": [5, 7],
        "target_key": [6, 6],
        "length": [8, 5],
    }


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [0, 0, 1 / 3, 1 / 3, 1 / 3, 0]),
        ("last", [0, 0, 0, 0, 1, 0]),
        ("end", [0, 0, 0, 0, 0, 1]),
        ("position", [0, 0, 1 / 6, 2 / 6, 3 / 6, 0]),
    ],
)
def test_pooling_uses_only_the_sentence(pooling, expected):
    """The tokens are </s> <s>, three of the sentence, and </s>; the first two never count."""
    items = [{"source": [11, 12, 13], "target": [21], "source_key": 0, "target_key": 0}]
    batch = Collator(Prompt(begin=(2, 0), end=2, pad=1), pooling)(items * 2 + [items[0] | {"source": [14] * 5}])
    assert batch["input_ids"][0].tolist() == [2, 0, 11, 12, 13, 2, 21, 2, 1, 1]
    assert batch["source_weights"][0].tolist() == pytest.approx([*expected, 0, 0])  # the longest source has five tokens
    assert batch["labels"][0].tolist() == [*[-100] * 6, 21, 2, -100, -100]


@pytest.mark.parametrize("pooling", ["mean", "last", "end", "position"])
def test_pooling_of_an_empty_sentence_is_defined(pooling):
    items = [{"source": [], "target": [21], "source_key": 0, "target_key": 0}]
    weights = Collator(Prompt(begin=(0,), end=2, pad=1), pooling)(items)["source_weights"]
    assert weights.tolist() == [[0.0, 1.0 if pooling == "end" else 0.0]]


def test_end_token_is_a_label_even_if_it_is_the_padding():
    items = [{"source": [11], "target": row, "source_key": 0, "target_key": 0} for row in ([21, 22], [23])]
    labels = Collator(Prompt(begin=(2,), end=2, pad=2))(items)["labels"]
    assert labels.tolist() == [[-100, -100, -100, 21, 22, 2], [-100, -100, -100, 23, 2, -100]]


def test_padding_is_right_for_training_and_left_for_generation():
    assert batching.pad([[4], [5, 6, 7]], 1).tolist() == [[4, 1, 1], [5, 6, 7]]
    assert batching.pad([[4], [5, 6, 7]], 1, left=True).tolist() == [[1, 1, 4], [5, 6, 7]]
    assert batching.pad([[4], [5]], 1).dtype == torch.int64


# Batches of similar length


def _batches(lengths, seed=1, steps=121, batch_size=10, **options):
    """Return batches, by default 121: one pass over 1,207 pairs."""
    return list(LengthGroupedBatches(lengths, batch_size, steps, seed, **options))


def test_order_depends_only_on_the_seed():
    lengths = torch.randint(1, 100, (1207,)).tolist()
    batches = _batches(lengths)
    torch.seed()  # other random numbers must not matter
    assert _batches(lengths) == batches
    assert _batches(lengths, seed=2) != batches


def test_each_pass_uses_all_pairs_in_new_batches():
    batches = _batches(torch.randint(1, 100, (1207,)).tolist(), steps=242)
    assert sorted(i for batch in batches[:121] for i in batch) == list(range(1207))
    assert sorted(i for batch in batches[121:] for i in batch) == list(range(1207))
    # pools are drawn again in each pass, so that few batches occur in both
    assert len(set(map(frozenset, batches[:121])) & set(map(frozenset, batches[121:]))) < 10


@pytest.mark.parametrize("steps", [1, 120, 121, 130, 300])
def test_number_of_batches_is_the_number_of_steps(steps):
    lengths = torch.randint(1, 100, (1207,)).tolist()
    batches = _batches(lengths, steps=steps)
    assert len(batches) == len(LengthGroupedBatches(lengths, 10, steps, 1)) == steps
    assert _batches(lengths, steps=300)[:steps] == batches  # a longer training begins like a shorter one


def test_second_pass_of_a_small_corpus_has_new_batches():
    """The corpus is as small as the training part of FLORES dev; batches have 16 pairs."""
    batches = _batches(torch.randint(10, 60, (797,)).tolist(), steps=100, batch_size=16)
    first, second = batches[:50], batches[50:]
    assert max(len(set(early) & set(late)) for early in first for late in second) <= 10


@pytest.mark.parametrize("limit", [50, 300, 2000])
def test_token_limit_includes_padding(limit):
    lengths = torch.randint(1, 100, (1207,)).tolist()
    batches = _batches(lengths, steps=2000, batch_tokens=limit)
    sizes = [(len(batch), len(batch) * max(lengths[i] for i in batch)) for batch in batches]
    assert all(padded <= limit or count == 1 for count, padded in sizes)
    assert all(count <= 10 for count, _ in sizes)
    if limit == 300:
        assert sum(padded > 200 for _, padded in sizes) > 0.7 * len(sizes)  # most batches are nearly full


def test_processes_share_every_batch():
    lengths = torch.randint(1, 100, (1207,)).tolist()
    parts = [_batches(lengths, process=process, processes=3) for process in range(3)]
    for batch, *shares in zip(_batches(lengths), *parts, strict=True):
        assert sorted(i for share in shares for i in share) == sorted(batch)


def test_each_process_always_has_a_pair():
    lengths = torch.randint(1, 100, (1208,)).tolist()  # a size where some process could be left without a pair
    parts = [_batches(lengths, steps=130, batch_tokens=120, process=process, processes=9) for process in range(9)]
    assert all(share for part in parts for share in part)
    assert {i for part in parts for share in part for i in share} == set(range(1208))


def test_items_are_split_where_they_no_longer_fit():
    fits = lambda batch: sum(batch) <= 5  # noqa: E731
    assert batching.split_into_batches([1, 2, 2, 9, 3, 2, 1], fits) == [[1, 2, 2], [9], [3, 2], [1]]
    assert batching.split_into_batches([], fits) == []


def test_batches_have_pairs_of_similar_length():
    def padding(batches):
        batches = [[lengths[i] for i in batch] for batch in batches]
        return sum(len(batch) * max(batch) - sum(batch) for batch in batches)

    lengths = torch.randint(1, 100, (1207,)).tolist()
    unsorted = [range(start, min(start + 10, 1207)) for start in range(0, 1207, 10)]
    assert padding(_batches(lengths)) < 0.1 * padding(unsorted)


def test_long_and_short_batches_are_mixed():
    lengths = torch.randint(1, 100, (1200,)).tolist()
    means = [sum(lengths[i] for i in batch) / 10 for batch in _batches(lengths, steps=120)]
    rises = sum(later > earlier for earlier, later in itertools.pairwise(means))
    assert 40 < rises < 80  # of 119; in sorted batches nearly all or none would rise
