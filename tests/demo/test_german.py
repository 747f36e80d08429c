"""Inflection in German."""

import pytest

from skipclm.demo.german import contract, endings, present
from skipclm.demo.grammar import inflect


@pytest.mark.parametrize(
    ("determiner", "case", "phrases"),
    [
        ("der", "nom", "der alte Hut, das alte Buch, die alte Uhr, die alten Hüte"),
        ("der", "acc", "den alten Hut, das alte Buch, die alte Uhr, die alten Hüte"),
        ("der", "dat", "dem alten Hut, dem alten Buch, der alten Uhr, den alten Hüten"),
        ("ein", "nom", "ein alter Hut, ein altes Buch, eine alte Uhr"),
        ("ein", "acc", "einen alten Hut, ein altes Buch, eine alte Uhr"),
        ("ein", "dat", "einem alten Hut, einem alten Buch, einer alten Uhr"),
        ("kein", "acc", "keinen alten Hut, kein altes Buch, keine alte Uhr, keine alten Hüte"),
        ("dies", "nom", "dieser alte Hut, dieses alte Buch, diese alte Uhr, diese alten Hüte"),
        ("dies", "acc", "diesen alten Hut, dieses alte Buch, diese alte Uhr, diese alten Hüte"),
        ("", "nom", "alter Hut, altes Buch, alte Uhr, alte Hüte"),
        ("", "dat", "altem Hut, altem Buch, alter Uhr, alten Hüten"),
    ],
)
def test_articles_and_adjectives(words, determiner, case, phrases):
    keywords = (case, determiner) if determiner else (case,)
    forms = [("hat", ()), ("book", ()), ("watch", ()), ("hat", ("pl",))]
    expected = phrases.split(", ")
    made = [inflect("de", words[name], keywords + number, (words["old"],)) for name, number in forms[: len(expected)]]
    assert made == expected


def test_possessives(words):
    phrases = [inflect("de", words["key"], ("acc",), (words[owner],)) for owner in ("I", "Anna", "Ali", "we", "they")]
    assert phrases == [f"{owner} Schlüssel" for owner in ("meinen", "ihren", "seinen", "unseren", "ihren")]


def test_endings_of_the_genitive():
    assert [endings("mein", "gen", column) for column in (0, 2)] == [
        ("meines", "en"),
        ("meiner", "en"),
    ]


@pytest.mark.parametrize(
    ("infinitive", "third", "expected"),
    [
        ("kaufen", "kauft", "kaufe kaufst kauft kaufen"),
        ("lesen", "liest", "lese liest liest lesen"),
        ("essen", "isst", "esse isst isst essen"),
        ("arbeiten", "arbeitet", "arbeite arbeitest arbeitet arbeiten"),
        ("fahren", "fährt", "fahre fährst fährt fahren"),
        ("tanzen", "tanzt", "tanze tanzt tanzt tanzen"),
    ],
)
def test_present(infinitive, third, expected):
    forms = [present(infinitive, third, person) for person in ("I", "you", "she", "they")]
    assert " ".join(forms) == expected


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("tidy room", "räumt|das Zimmer auf|das Zimmer aufräumt|das Zimmer aufzuräumen|das Zimmer aufgeräumt"),
        ("football", "spielt|Fußball|Fußball spielt|Fußball zu spielen|Fußball gespielt"),
        ("television", "sieht|fern|fernsieht|fernzusehen|ferngesehen"),
        ("dance", "tanzt||tanzt|zu tanzen|getanzt"),
    ],
)
def test_separable_verbs(words, verb, forms):
    wanted = ("present", "particle", "final", "zu", "participle")
    assert "|".join(inflect("de", words[verb], (form,), ()) for form in wanted) == forms


def test_contractions():
    assert contract("in dem Park, in das Kino, an dem Strand, zu der Bank, zu dem Zug, in der Stadt") == (
        "im Park, ins Kino, am Strand, zur Bank, zum Zug, in der Stadt"
    )
    assert contract("sein dem") == "sein dem"


@pytest.mark.parametrize(
    ("place", "at", "to"),
    [
        ("school", "in der Schule", "in die Schule"),
        ("station", "an dem Bahnhof", "zu dem Bahnhof"),
        ("market", "auf dem Markt", "auf den Markt"),
    ],
)
def test_places(words, place, at, to):
    assert [inflect("de", words[place], (form,), ()) for form in ("at", "to")] == [at, to]
