"""Inflect the German of the built-in corpus."""

import re
from functools import cache

from skipclm.demo.words import (
    Inflector,
    Keywords,
    Lexeme,
    UnknownForm,
    Words,
    first_word,
    pick,
    principal_part,
    table_by_person,
)

_PERSON_FORMS = table_by_person(
    er="ich du er sie wir sie",
    sein="mein dein sein ihr unser ihr",
    ist="bin bist ist ist sind sind",
    war="war warst war war waren waren",
    hat="habe hast hat hat haben haben",
    wird="werde wirst wird wird werden werden",
    kann="kann kannst kann kann können können",
    muss="muss musst muss muss müssen müssen",
    will="will willst will will wollen wollen",
    mag="mag magst mag mag mögen mögen",
    möchte="möchte möchtest möchte möchte möchten möchten",
    weiß="weiß weißt weiß weiß wissen wissen",
    kam="kam kamst kam kam kamen kamen",
)
_CASES = ("nom", "acc", "dat", "gen")
# columns: masculine, neuter, feminine, plural
_DER = {"nom": "der das die die", "acc": "den das die die", "dat": "dem dem der den", "gen": "des des der der"}
_STRONG = {"nom": "er es e e", "acc": "en es e e", "dat": "em em er en", "gen": "es es er er"}
_WEAK = {"nom": "e e e en", "acc": "en e e en", "dat": "en en en en", "gen": "en en en en"}
GENDERS = {"der": 0, "das": 1, "die": 2}
_CONTRACTIONS = {
    "in dem": "im",
    "in das": "ins",
    "an dem": "am",
    "an das": "ans",
    "bei dem": "beim",
    "von dem": "vom",
    "zu dem": "zum",
    "zu der": "zur",
}


def endings(determiner: str, case: str, column: int) -> tuple[str, str]:
    """Return the inflected determiner and the ending of an adjective after it.

    `determiner` is "der", "dies", a stem declined like "ein" (kein, mein, unser ...), or "" for none. One rule covers
    strong, weak and mixed declension: an adjective has the strong ending if the determiner has none.
    """
    strong, weak = _STRONG[case].split()[column], _WEAK[case].split()[column]
    if not determiner:
        return "", strong
    if determiner == "der":
        return _DER[case].split()[column], weak
    bare = (case, column) in {("nom", 0), ("nom", 1), ("acc", 1)} and determiner != "dies"
    return (determiner, strong) if bare else (determiner + strong, weak)


def contract(sentence: str) -> str:
    """Contract prepositions and articles: in dem, im; zu der, zur."""
    return re.sub(r"\b(in|an|bei|von|zu) (dem|das|der)\b", lambda m: _CONTRACTIONS.get(m[0], m[0]), sentence)


def _noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a noun with its article or possessor and its adjective, in a case and number."""
    singular = noun.forms["de"][0]
    place = pick(keywords, ("at", "to"), "")
    if place:
        preposition = noun.extras.get(f"de_{place}", "in")
        case = "dat" if place == "at" or preposition == "zu" else "acc"
        return f"{preposition} {_noun(noun, ('der', case), ())}"
    case, plural = pick(keywords, _CASES, "nom"), "pl" in keywords
    column = 3 if plural else GENDERS[singular.split()[0]]
    if "den" in keywords:  # the relative pronoun; it equals the article, except in the genitive and the dative plural
        return _DER[case].split()[column]
    owner, adjective = first_word(words, "persons", "names"), first_word(words, "adjectives")
    determiner = _PERSON_FORMS["sein"][owner.agrees] if owner else pick(keywords, ("der", "dies", "ein", "kein"), "")
    article, ending = endings(determiner, case, column)
    inflected = _stem(adjective) + ending if adjective else ""
    return " ".join(filter(None, [article, inflected, _decline(noun, case, plural)]))


def _decline(noun: Lexeme, case: str, plural: bool) -> str:
    """Decline the noun itself: weak masculine nouns and the dative plural change. No frame needs the genitive."""
    if case == "gen":
        raise UnknownForm("nouns have no genitive in de; only persons and names do")
    if not plural:
        bare = noun.forms["de"][0].split(maxsplit=1)[1]
        return bare if case == "nom" else noun.extras.get("de_weak", bare)
    if len(noun.forms["de"]) < 2:
        raise UnknownForm(f"{noun.name!r} has no plural in de")
    form = noun.forms["de"][1]
    return form + "n" if case == "dat" and not form.endswith(("n", "s")) else form


def present(infinitive: str, third: str, agrees: str) -> str:
    """Conjugate a verb from its infinitive and its third person: lesen and liest give ich lese, du liest."""
    if agrees in ("we", "they"):
        return infinitive
    if agrees == "I":
        return re.sub(r"e?n$", "", infinitive) + "e"
    if agrees == "you":
        stem = third.removesuffix("t")
        return stem + ("t" if stem.endswith(("s", "ß", "z")) else "st")
    return third


@cache
def _split_verb(verb: Lexeme) -> dict[str, str]:
    """Split a verb such as "das Zimmer aufräumen / räumt das Zimmer auf / hat das Zimmer aufgeräumt" into parts.

    particle: the words after the finite verb in a main clause ("das Zimmer auf"); before: the same words before the
    verb at the end of a clause, with a space if one separates them from the verb ("das Zimmer auf", "Fußball ").
    """
    infinitive, third, perfect = (principal_part(verb, "de", index) for index in range(3))
    finite, _, particle = third.partition(" ")
    before = infinitive[: len(particle)]
    if before != particle:
        raise UnknownForm(f"{verb.name!r} in de: {infinitive!r} does not begin with {particle!r}")
    before += " " if infinitive[len(particle) :].startswith(" ") else ""
    auxiliary, *middle, participle = perfect.split()
    base = infinitive.removeprefix(before)
    return {
        "infinitive": infinitive,
        "base": base,
        "zu": f"{before}zu{base}" if before.strip() == before != "" else f"{before}zu {base}",
        "third": finite,
        "particle": particle,
        "before": before,
        "auxiliary": auxiliary,
        "object": " ".join(middle),
        "done": participle,
    }


def _verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a finite form (present, final, aux), the particle, an infinitive, or a part of the perfect."""
    if "imperative" in keywords:
        return verb.extras["de_imperative"]
    parts = _split_verb(verb)
    subject = first_word(words, "persons", "names")
    agrees = subject.agrees if subject else "he"
    finite = present(parts["base"], parts["third"], agrees)
    forms = {
        "present": finite,
        "final": parts["before"] + finite,
        "particle": parts["particle"],
        "zu": parts["zu"],
        "aux": _PERSON_FORMS[parts["auxiliary"]][agrees],
        "object": parts["object"],
        "done": parts["done"],
        "participle": f"{parts['object']} {parts['done']}".strip(),
    }
    return forms.get(pick(keywords, forms, ""), parts["infinitive"])


def _person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    form = pick(keywords, _PERSON_FORMS, "")
    if form:
        return _PERSON_FORMS[form][person.agrees]
    case = pick(keywords, _CASES, "nom")
    if person.kind == "names" and case == "gen":
        return f"{principal_part(person, 'de', 0)}s"
    return principal_part(person, "de", _CASES.index(case))


def _stem(adjective: Lexeme) -> str:
    parts = adjective.forms["de"]
    return (parts[3] if len(parts) > 3 else parts[0]).removesuffix("e")


def _adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    degree = pick(keywords, ("er", "est"), "")
    if degree and len(adjective.forms["de"]) < 3:
        raise UnknownForm(f"{adjective.name!r} has no comparison in de")
    form = adjective.forms["de"][("", "er", "est").index(degree)]
    noun = first_word(words, "nouns")
    if degree != "est" or noun is None:
        return form
    column = GENDERS[noun.forms["de"][0].split()[0]]  # as in "das teuerste Buch"
    return " ".join([_DER["nom"].split()[column], form + "e", _decline(noun, "nom", False)])


# the keywords that a slot may use, besides the names of other slots
KEYWORDS = {
    *("der", "dies", "ein", "kein", "den", "pl", "at", "to", "er", "est", *_CASES, *_PERSON_FORMS),
    *("present", "final", "particle", "zu", "aux", "object", "done", "participle", "imperative"),
}
INFLECTORS: dict[str, Inflector] = {"persons": _person, "nouns": _noun, "verbs": _verb, "adjectives": _adjective}
