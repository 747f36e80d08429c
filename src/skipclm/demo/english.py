"""Inflect the English of the built-in corpus."""

import re

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
    he="I you he she we they",
    his="my your his her our their",
    **{"is": "am are is is are are"},
    was="was were was was were were",
    has="have have has has have have",
    does="do do does does do do",
)


def with_article(phrase: str) -> str:
    """Put "a" or "an" before an English phrase. The first letter decides, which is enough for this lexicon."""
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def add_s(word: str) -> str:
    """Add the -s of the plural or the third person: book, books; watch, watches; story, stories."""
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        return word + "es"
    return word + "s"


def _add_ed(word: str) -> str:
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def _add_ing(word: str) -> str:
    return (word[:-1] if word.endswith("e") and not word.endswith("ee") else word) + "ing"


def _third_person(word: str) -> str:
    return "has" if word == "have" else add_s(word)


def _verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a verb form. Principal parts are base, past, participle and -ing; a regular verb needs only the base."""
    parts = verb.forms["en"]
    head, _, rest = parts[0].partition(" ")
    form = pick(keywords, ("present", "past", "participle", "ing"), "base")
    subject = first_word(words, "persons", "names")
    if form in ("past", "participle"):
        index = 1 if form == "past" else 2
        return parts[index] if len(parts) > 1 else _add_ed(head)
    if form == "ing":
        return parts[3] if len(parts) > 3 else f"{_add_ing(head)} {rest}".strip()
    if form == "present" and (subject is None or subject.agrees in ("he", "she")):
        return f"{_third_person(head)} {rest}".strip()
    return parts[0]


def _noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a noun: the plain form, the plural, or the noun with a/an, with a possessor, or as a place (at, to)."""
    parts = noun.forms["en"]
    if "at" in keywords:
        return noun.extras.get("en_at", f"in the {parts[0]}")
    if "to" in keywords:
        return noun.extras.get("en_to", f"to the {parts[0]}")
    plural = parts[1] if len(parts) > 1 else add_s(parts[0])
    adjective = first_word(words, "adjectives")
    phrase = plural if "pl" in keywords else parts[0]
    if adjective:
        phrase = f"{adjective.forms['en'][0]} {phrase}"
    if "a" in keywords:
        return with_article(phrase)
    owner = first_word(words, "persons", "names")
    return f"{_PERSON_FORMS['his'][owner.agrees]} {phrase}" if owner else phrase


def _person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    form = pick(keywords, _PERSON_FORMS, "")
    if form:
        return _PERSON_FORMS[form][person.agrees]
    if "gen" in keywords:
        return f"{principal_part(person, 'en', 0)}'s"
    return principal_part(person, "en", 1 if "acc" in keywords else 0)


def _adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    degree = pick(keywords, ("er", "est"), "")
    if degree and len(adjective.forms["en"]) < 3:
        raise UnknownForm(f"{adjective.name!r} has no comparison in en")
    return adjective.forms["en"][("", "er", "est").index(degree)]


# the keywords that a slot may use, besides the names of other slots
KEYWORDS = {"a", "pl", "at", "to", "acc", "gen", "er", "est", "present", "past", "participle", "ing", *_PERSON_FORMS}
INFLECTORS: dict[str, Inflector] = {"persons": _person, "nouns": _noun, "verbs": _verb, "adjectives": _adjective}
