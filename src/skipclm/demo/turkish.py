"""Inflect the Turkish of the built-in corpus."""

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

_HIGH_VOWEL = dict(zip("aıouâeiöü", "ııuuiiiüü", strict=True))
_CASES = {"acc": "(y)I", "dat": "(y)A", "loc": "DA", "abl": "DAn", "gen": "(n)In", "with": "(y)lA"}
_CASES_AFTER_THIRD = {"acc": "nI", "dat": "nA", "loc": "ndA", "abl": "ndAn", "gen": "nIn", "with": "ylA"}
_OWNED = table_by_person(own="(I)m (I)n (s)I (s)I (I)mIz lArI", owned="(I)m (I)n (s)I (s)I (I)mIz (s)I")
_ENDINGS = table_by_person(z="(y)Im sIn - - (y)Iz lAr", k="m n - - k lAr")
_TENSES = {
    "progressive": (("(I)yor",), "z"),
    "was_doing": (("(I)yor", "DI"), "k"),
    "past": (("DI",), "k"),
    "future": (("(y)AcAK",), "z"),
    "must": (("mAlI",), "z"),
    "unable": (("(y)AmA", "(y)AcAK"), "z"),
}
_VERBALS = {"to": "mAK", "to_acc": "mAyI", "lets": "(y)AlIm", "doing": "(y)An"}


def attach(word: str, *suffixes: str, soft: str = "", harmony: str = "") -> str:
    """Attach Turkish suffixes one by one, with vowel harmony, buffer letters and consonant changes.

    In a suffix, A is a/e, I is ı/i/u/ü, D is d/t, K is k, or ğ before a vowel. (y), (n) and (s) appear only after
    vowels, (I) only after consonants. `soft` is the stem before a vowel (kitap: kitab). `harmony` is the vowel that
    decides the harmony of an irregular word (saat: e).
    """
    for suffix in suffixes:
        if soft and re.match(r"\([yns]\)[AI]|\(?[AI]", suffix):
            word = soft
        elif suffix == "(I)yor" and word[-1] in "ae":
            word = word[:-1]  # the vowel is raised: iste, istiyor; oyna, oynuyor
        word += _fit(word, suffix, harmony)
        soft = harmony = ""
    return re.sub(rf"K(?=[{''.join(_HIGH_VOWEL)}])", "ğ", word).replace("K", "k")


def _fit(word: str, suffix: str, harmony: str) -> str:
    """Return the spelling of one suffix after `word`."""
    after_vowel = word[-1] in _HIGH_VOWEL
    suffix = re.sub(r"\((.)\)", lambda m: m[1] if after_vowel != (m[1] == "I") else "", suffix)
    spelled = ""
    for letter in suffix:
        context = harmony if harmony and not re.search("[aeıiuüoö]", spelled) else word + spelled
        if letter == "A":
            letter = "a" if _last_vowel(context) in "aıou" else "e"
        elif letter == "I":
            letter = _HIGH_VOWEL[_last_vowel(context)]
        elif letter == "D":
            letter = "t" if (word + spelled)[-1] in "fstkçşhpK" else "d"
        spelled += letter
    return spelled


def _last_vowel(word: str) -> str:
    return next(letter for letter in reversed(word) if letter in _HIGH_VOWEL)


def _endings(kind: str, subject: Lexeme) -> tuple[str, ...]:
    ending = _ENDINGS[kind][subject.agrees]
    return () if ending == "-" else (ending,)


def _stem(word: Lexeme) -> tuple[str, dict[str, str]]:
    parts = word.forms["tr"]
    return parts[0], {
        "soft": parts[1] if len(parts) > 1 else "",
        "harmony": word.extras.get("tr_harmony", ""),
    }


def _noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a noun with number, possession and case; `was` makes it a predicate (parktaydım)."""
    owner = first_word(words, "persons", "names")
    suffixes: tuple[str, ...] = ("lAr",) if "pl" in keywords else ()
    cases = _CASES
    if "was" in keywords:
        suffixes += ("DA", "(y)DI", *_endings("k", owner))
        owner = None
    if owner:
        possession = _OWNED[pick(keywords, _OWNED, "owned")][owner.agrees]
        suffixes += (possession,)
        cases = _CASES_AFTER_THIRD if possession.endswith(("(s)I", "lArI")) else _CASES
    suffixes += tuple(cases[keyword] for keyword in keywords if keyword in cases)
    stem, changes = _stem(noun)
    return attach(stem, *suffixes, **changes)


def _verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a finite form in a tense and person, a verbal noun, or the participle -DIK with its possessor."""
    subject = first_word(words, "persons", "names")
    suffixes: tuple[str, ...] = ("mA",) if "not" in keywords else ()
    tense, verbal = pick(keywords, _TENSES, ""), pick(keywords, _VERBALS, "")
    if tense:
        marks, kind = _TENSES[tense]
        suffixes += (*marks, *(_endings(kind, subject) if subject else ()))
    elif verbal:
        suffixes += (_VERBALS[verbal],)
    elif "that" in keywords and subject:
        owned = _OWNED[pick(keywords, _OWNED, "own")][subject.agrees]
        cases = _CASES_AFTER_THIRD if owned.endswith(("(s)I", "lArI")) else _CASES
        suffixes += ("DIK", owned, *(cases[keyword] for keyword in keywords if keyword in cases))
    if "ask" in keywords:
        suffixes += (" mI",)
    stem, changes = _stem(verb)
    return attach(stem, *suffixes, **changes)


def _person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return a person or city in a case. Pronouns list their forms, names take an apostrophe, `for` is "için"."""
    if "not" in keywords:
        was = "was" in keywords
        return attach("değil", *["(y)DI"] * was, *_endings("k" if was else "z", person))
    order = ("nom", "acc", "dat", "gen", "for")
    case = pick(keywords, (*order, *_CASES), "nom")
    if len(person.forms["tr"]) > 1:
        if case not in order:
            raise UnknownForm(f"{person.name!r} has no {case!r} in tr")
        return principal_part(person, "tr", order.index(case)).removeprefix("-")
    name = person.forms["tr"][0]
    if "citizen" in keywords:
        return attach(name, "lI")
    if case in ("nom", "for"):
        return name if case == "nom" else f"{name} için"
    form = attach(name, _CASES[case])
    return form if person.kind == "persons" else f"{name}'{form.removeprefix(name)}"


def _adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    subject = first_word(words, "persons", "names")
    endings = _endings("z", subject) if subject and "is" in keywords else ()
    return attach(adjective.forms["tr"][0], *endings)


def _number(number: Lexeme, keywords: Keywords, words: Words) -> str:
    return attach(number.forms["tr"][0], *(_CASES[keyword] for keyword in keywords if keyword in _CASES))


# the keywords that a slot may use, besides the names of other slots
KEYWORDS = {"pl", "was", "for", "citizen", "is", "not", "that", "ask", *_CASES, *_OWNED, *_TENSES, *_VERBALS}
INFLECTORS: dict[str, Inflector] = {
    "persons": _person,
    "cities": _person,
    "nouns": _noun,
    "verbs": _verb,
    "adjectives": _adjective,
    "numbers": _number,
}
