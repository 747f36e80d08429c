"""Inflect the Chinese of the built-in corpus."""

from skipclm.demo.words import Inflector, Keywords, Lexeme, UnknownForm, Words, table_by_person

_PERSON_FORMS = table_by_person(he="我 你 他 她 我们 他们")


def _noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a noun ("本 书": 书), its classifier (cl: 本), its place (at: 在公园里) or vehicle (by: 坐火车)."""
    classifier, _, word = noun.forms["zh"][0].rpartition(" ")
    if "at" in keywords:
        return noun.extras.get("zh_at", f"在{word}")
    if "by" in keywords:
        if "zh_by" not in noun.extras:
            raise UnknownForm(f"{noun.name!r} has no 'zh_by'")
        return noun.extras["zh_by"]
    if "cl" in keywords and not classifier:
        raise UnknownForm(f"{noun.name!r} has no classifier in zh")
    return classifier if "cl" in keywords else word


def _verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    action, _, rest = verb.forms["zh"][0].partition(" ")
    return f"{action}完{rest}" if "done" in keywords else action + rest


def _person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    return _PERSON_FORMS["he"][person.agrees] if "he" in keywords else person.forms["zh"][0]


def _adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return the plain form, the form before a noun (attr: 漂亮的) or the predicate (is: 很漂亮, 是红色的)."""
    parts = adjective.forms["zh"]
    if "attr" in keywords:
        return parts[1] if len(parts) > 1 else parts[0]
    if "is" in keywords:
        return parts[2] if len(parts) > 2 else f"很{parts[0]}"
    return parts[0]


# the keywords that a slot may use, besides the names of other slots
KEYWORDS = {"cl", "at", "by", "he", "done", "attr", "is"}
INFLECTORS: dict[str, Inflector] = {"persons": _person, "nouns": _noun, "verbs": _verb, "adjectives": _adjective}
