"""Translations side by side: order of the segments and scores of single segments."""

from sacrebleu.metrics import CHRF

from skipclm.analysis import side_by_side
from skipclm.evaluation import metrics
from skipclm.evaluation.metrics import Translations

SOURCES = ["one two", "three", "four five"]
REFERENCES = ["eins zwei", "drei", "vier fünf"]
HYPOTHESES = {"full": ["eins zwei", "drei", "vier"], "finetune": ["eins zwei", "vier", "fünf"]}


def _table(hypotheses, untrained=()):
    contributions = {
        name: metrics.measure(Translations(lines, REFERENCES, SOURCES, "en", "de"), ["chrf"])[1]["chrf"]
        for name, lines in hypotheses.items()
    }
    return side_by_side.translation_table(SOURCES, REFERENCES, hypotheses, contributions, "chrf", untrained)


def test_rows_are_sorted_by_difference_and_complete():
    table = _table(HYPOTHESES)
    columns = ["line", "spread", "source", "reference", "full_text", "full_chrf", "finetune_text"]
    assert list(table.columns) == [*columns, "finetune_chrf"]
    assert table["line"].tolist() == [2, 3, 1] or table["line"].tolist() == [2, 1, 3]
    first = table.iloc[0]
    assert (first["source"], first["reference"], first["full_text"], first["finetune_text"]) == (
        "three",
        "drei",
        "drei",
        "vier",
    )
    assert table["spread"].is_monotonic_decreasing
    assert (table["spread"] == (table["full_chrf"] - table["finetune_chrf"]).abs()).all()


def test_untrained_variants_are_shown_but_not_compared():
    table = _table(HYPOTHESES | {"base": ["", "drei", ""]}, untrained=["base"])
    assert table["spread"].tolist() == _table(HYPOTHESES)["spread"].tolist()
    assert table.set_index("line").loc[2, "base_text"] == "drei"
    assert (_table({"base": ["", "drei", ""]}, untrained=["base"])["spread"] == 0).all()


def test_scores_are_those_of_single_segments():
    table = _table(HYPOTHESES).set_index("line")
    for line in (1, 2, 3):
        expected = CHRF().corpus_score([HYPOTHESES["finetune"][line - 1]], [[REFERENCES[line - 1]]]).score
        assert table.loc[line, "finetune_chrf"] == expected


def test_table_without_variants_has_source_and_reference():
    assert _table({})["line"].tolist() == [1, 2, 3]
