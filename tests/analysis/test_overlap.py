"""Overlap of splits, counted by hand."""

from skipclm.analysis import overlap


def _row(train, test, language="de"):
    table = overlap.overlap_table({("en-de", language): {"train": train, "test": test}})
    assert len(table) == 1
    return table.iloc[0]


def test_common_sentences_are_counted():
    row = _row(["Eins, zwei!", "drei vier"], ["eins zwei", "Drei vier.", "fünf"])
    assert (row["sentences"], row["exact"], row["near"]) == (3, 2, 2)


def test_near_copies_share_most_4_grams():
    train = ["a b c d e f g h"]
    # of the five 4-grams, a-d, b-e, c-f and d-g are seen and e-g x is not: 80 %; of the second sentence, one of four
    row = _row(train, ["a b c d e f g x", "a b c d x y z"])
    assert (row["exact"], row["near"]) == (0, 1)
    assert row["ngrams_seen"] == 100 * 5 / 9


def test_invisible_characters_do_not_hide_overlap():
    row = _row(
        ["eins zwei drei vier fünf"], ["\ufeffeins zwei drei vier fünf", "ei\u00adns zwei drei\u200b vier sechs"]
    )
    assert (row["exact"], row["near"], row["ngrams_seen"]) == (1, 1, 100 * 3 / 4)


def test_chinese_is_compared_by_characters():
    row = _row(["我今天要去学校。"], ["我今天要去学堂", "猫坐在垫子上"], "zh")
    assert (row["exact"], row["near"], row["ngrams_seen"]) == (0, 0, 100 * 3 / 7)


def test_empty_sides_do_not_overlap():
    row = _row(["!!!"], ["...", "a"])
    assert (row["sentences"], row["exact"], row["near"], row["ngrams_seen"]) == (2, 0, 0, 0.0)


def test_each_held_out_split_is_compared_with_earlier_ones():
    splits = {"train": ["a"], "valid": ["b"], "test": ["a"]}
    table = overlap.overlap_table({("en-de", "en"): splits, ("en-de", "de"): splits})
    assert table[["language", "split", "other", "exact"]].to_numpy().tolist() == [
        [language, *row]
        for language in ("en", "de")
        for row in (["valid", "train", 0], ["test", "train", 1], ["test", "valid", 0])
    ]
