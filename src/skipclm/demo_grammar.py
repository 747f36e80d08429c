"""Inflect the words of the built-in corpus: English, German, Turkish and Chinese.

A slot such as `{what ein acc color}` asks for one form of one word: `inflect` gets the word, the keywords
(`ein`, `acc`) and the other words it must agree with (`color`). Each language is a small set of functions,
one per part of speech; all of them are pure.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

KINDS = ("persons", "names", "cities", "nouns", "verbs", "adjectives", "numbers", "phrases")


@dataclass(frozen=True, eq=False)
class Lexeme:
    """One word in all languages: `forms["de"]` holds its principal parts, `extras` its peculiarities."""

    name: str
    kind: str
    forms: dict[str, tuple[str, ...]]
    extras: dict[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> str:
        """The English pronoun that stands for this word: I, you, he, she, we or they."""
        return self.extras.get("agrees", "he")


class UnknownForm(ValueError):
    """A slot asks for a form that its word does not have."""


Words = tuple[Lexeme, ...]
Keywords = tuple[str, ...]
PERSONS = ("I", "you", "he", "she", "we", "they")


def _table(**rows: str) -> dict[str, dict[str, str]]:
    """Turn `was="was were ..."` into {"was": {"I": "was", "you": "were", ...}}."""
    return {name: dict(zip(PERSONS, row.split(), strict=True)) for name, row in rows.items()}


def _first(words: Words, *kinds: str) -> Lexeme | None:
    return next((word for word in words if word.kind in kinds), None)


def _pick(keywords: Keywords, allowed: tuple[str, ...] | dict, otherwise: str) -> str:
    return next((keyword for keyword in keywords if keyword in allowed), otherwise)


def _part(word: Lexeme, language: str, index: int) -> str:
    """Return one principal part; a word given by a single form has it everywhere."""
    parts = word.forms[language]
    if len(parts) > 1 and index >= len(parts):
        raise UnknownForm(f"{word.name!r} has {len(parts)} forms in {language}, form {index + 1} is needed")
    return parts[min(index, len(parts) - 1)]


# --- English ------------------------------------------------------------------------------------------

_ENGLISH = _table(
    he="I you he she we they",
    his="my your his her our their",
    **{"is": "am are is is are are"},
    was="was were was was were were",
    has="have have has has have have",
    does="do do does does do do",
)


def with_article(phrase: str) -> str:
    """Put "a" or "an" before an English phrase; the words of this lexicon follow the spelling."""
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def english_s(word: str) -> str:
    """Add the -s of plurals and of the third person: book, books; watch, watches; story, stories."""
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        return word + "es"
    return word + "s"


def _english_ed(word: str) -> str:
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def _english_ing(word: str) -> str:
    return (word[:-1] if word.endswith("e") and not word.endswith("ee") else word) + "ing"


def _english_third(word: str) -> str:
    return "has" if word == "have" else english_s(word)


def _english_verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    """Principal parts are base, past, participle, -ing; a regular verb needs only the base."""
    parts = verb.forms["en"]
    head, _, rest = parts[0].partition(" ")
    wanted = _pick(keywords, ("present", "past", "participle", "ing"), "base")
    subject = _first(words, "persons", "names")
    if wanted == "past" or wanted == "participle":
        index = 1 if wanted == "past" else 2
        return parts[index] if len(parts) > 1 else _english_ed(head)
    if wanted == "ing":
        return parts[3] if len(parts) > 3 else f"{_english_ing(head)} {rest}".strip()
    if wanted == "present" and (subject is None or subject.agrees in ("he", "she")):
        return f"{_english_third(head)} {rest}".strip()
    return parts[0]


def _english_noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give a noun as it stands, in the plural, with a/an, with a possessor, or as a place (at, to)."""
    parts = noun.forms["en"]
    if "at" in keywords:
        return noun.extras.get("en_at", f"in the {parts[0]}")
    if "to" in keywords:
        return noun.extras.get("en_to", f"to the {parts[0]}")
    plural = parts[1] if len(parts) > 1 else english_s(parts[0])
    adjective = _first(words, "adjectives")
    phrase = plural if "pl" in keywords else parts[0]
    if adjective:
        phrase = f"{adjective.forms['en'][0]} {phrase}"
    if "a" in keywords:
        return with_article(phrase)
    owner = _first(words, "persons", "names")
    return f"{_ENGLISH['his'][owner.agrees]} {phrase}" if owner else phrase


def _english_person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    agreeing = _pick(keywords, _ENGLISH, "")
    if agreeing:
        return _ENGLISH[agreeing][person.agrees]
    if "gen" in keywords:
        return f"{_part(person, 'en', 0)}'s"
    return _part(person, "en", 1 if "acc" in keywords else 0)


def _english_adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    degree = _pick(keywords, ("er", "est"), "")
    if degree and len(adjective.forms["en"]) < 3:
        raise UnknownForm(f"{adjective.name!r} has no comparison in en")
    return adjective.forms["en"][("", "er", "est").index(degree)]


# --- German -------------------------------------------------------------------------------------------

_GERMAN = _table(
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
_GERMAN_CASES = ("nom", "acc", "dat", "gen")
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


def german_endings(determiner: str, case: str, column: int) -> tuple[str, str]:
    """Return a determiner in its form and the ending of an adjective after it.

    `determiner` is "der", "dies", a stem declined like "ein" (kein, mein, unser ...), or "" for none. One rule
    gives all of strong, weak and mixed: an adjective is strong exactly where no ending stands before it.
    """
    strong, weak = _STRONG[case].split()[column], _WEAK[case].split()[column]
    if not determiner:
        return "", strong
    if determiner == "der":
        return _DER[case].split()[column], weak
    bare = (case, column) in {("nom", 0), ("nom", 1), ("acc", 1)} and determiner != "dies"
    return (determiner, strong) if bare else (determiner + strong, weak)


def contract(sentence: str) -> str:
    """Join prepositions and articles as German does: in dem, im; zu der, zur."""
    return re.sub(r"\b(in|an|bei|von|zu) (dem|das|der)\b", lambda m: _CONTRACTIONS.get(m[0], m[0]), sentence)


def _german_noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give a noun with its article or possessor and its adjective, in case and number."""
    singular = noun.forms["de"][0]
    place = _pick(keywords, ("at", "to"), "")
    if place:
        preposition = noun.extras.get(f"de_{place}", "in")
        case = "dat" if place == "at" or preposition == "zu" else "acc"
        return f"{preposition} {_german_noun(noun, ('der', case), ())}"
    case, plural = _pick(keywords, _GERMAN_CASES, "nom"), "pl" in keywords
    column = 3 if plural else GENDERS[singular.split()[0]]
    if "den" in keywords:  # the relative pronoun, which is the article outside the genitive and dative plural
        return _DER[case].split()[column]
    owner, adjective = _first(words, "persons", "names"), _first(words, "adjectives")
    determiner = _GERMAN["sein"][owner.agrees] if owner else _pick(keywords, ("der", "dies", "ein", "kein"), "")
    article, ending = german_endings(determiner, case, column)
    described = _german_stem(adjective) + ending if adjective else ""
    return " ".join(filter(None, [article, described, _german_case(noun, case, plural)]))


def _german_case(noun: Lexeme, case: str, plural: bool) -> str:
    """Decline the noun itself: weak masculines and the dative plural change it; no frame needs its genitive."""
    if case == "gen":
        raise UnknownForm("nouns have no genitive in de; only persons and names do")
    if not plural:
        bare = noun.forms["de"][0].split(maxsplit=1)[1]
        return bare if case == "nom" else noun.extras.get("de_weak", bare)
    if len(noun.forms["de"]) < 2:
        raise UnknownForm(f"{noun.name!r} has no plural in de")
    form = noun.forms["de"][1]
    return form + "n" if case == "dat" and not form.endswith(("n", "s")) else form


def german_present(infinitive: str, third: str, agrees: str) -> str:
    """Conjugate one verb word from its infinitive and its third person: lesen, liest gives ich lese, du liest."""
    if agrees in ("we", "they"):
        return infinitive
    if agrees == "I":
        return re.sub(r"e?n$", "", infinitive) + "e"
    if agrees == "you":
        stem = third.removesuffix("t")
        return stem + ("t" if stem.endswith(("s", "ß", "z")) else "st")
    return third


@cache
def _german_parts(verb: Lexeme) -> dict[str, str]:
    """Take "das Zimmer aufräumen / räumt das Zimmer auf / hat das Zimmer aufgeräumt" apart.

    particle: what follows the finite verb in a main clause ("das Zimmer auf"); before: the same with its
    space or without, as it precedes the verb at the end of a clause ("das Zimmer auf", "Fußball ").
    """
    infinitive, third, perfect = (_part(verb, "de", index) for index in range(3))
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


def _german_verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give a finite form (present, final, aux), its particle, an infinitive, or a piece of the perfect."""
    if "imperative" in keywords:
        return verb.extras["de_imperative"]
    parts = _german_parts(verb)
    subject = _first(words, "persons", "names")
    agrees = subject.agrees if subject else "he"
    finite = german_present(parts["base"], parts["third"], agrees)
    forms = {
        "present": finite,
        "final": parts["before"] + finite,
        "particle": parts["particle"],
        "zu": parts["zu"],
        "aux": _GERMAN[parts["auxiliary"]][agrees],
        "object": parts["object"],
        "done": parts["done"],
        "participle": f"{parts['object']} {parts['done']}".strip(),
    }
    return forms.get(_pick(keywords, forms, ""), parts["infinitive"])


def _german_person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    agreeing = _pick(keywords, _GERMAN, "")
    if agreeing:
        return _GERMAN[agreeing][person.agrees]
    case = _pick(keywords, _GERMAN_CASES, "nom")
    if person.kind == "names" and case == "gen":
        return f"{_part(person, 'de', 0)}s"
    return _part(person, "de", _GERMAN_CASES.index(case))


def _german_stem(adjective: Lexeme) -> str:
    parts = adjective.forms["de"]
    return (parts[3] if len(parts) > 3 else parts[0]).removesuffix("e")


def _german_adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    degree = _pick(keywords, ("er", "est"), "")
    if degree and len(adjective.forms["de"]) < 3:
        raise UnknownForm(f"{adjective.name!r} has no comparison in de")
    form = adjective.forms["de"][("", "er", "est").index(degree)]
    noun = _first(words, "nouns")
    if degree != "est" or noun is None:
        return form
    column = GENDERS[noun.forms["de"][0].split()[0]]  # as in "das teuerste Buch"
    return " ".join([_DER["nom"].split()[column], form + "e", _german_case(noun, "nom", False)])


# --- Turkish ------------------------------------------------------------------------------------------

_HIGH_VOWEL = dict(zip("aıouâeiöü", "ııuuiiiüü", strict=True))
_CASES = {"acc": "(y)I", "dat": "(y)A", "loc": "DA", "abl": "DAn", "gen": "(n)In", "with": "(y)lA"}
_CASES_AFTER_THIRD = {"acc": "nI", "dat": "nA", "loc": "ndA", "abl": "ndAn", "gen": "nIn", "with": "ylA"}
_OWNED = _table(own="(I)m (I)n (s)I (s)I (I)mIz lArI", owned="(I)m (I)n (s)I (s)I (I)mIz (s)I")
_ENDINGS = _table(z="(y)Im sIn - - (y)Iz lAr", k="m n - - k lAr")
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

    A is a/e, I is ı/i/u/ü, D is d/t, K is k, or ğ before a vowel; (y), (n), (s) stand after vowels only and
    (I) after consonants only. `soft` is the stem before a vowel (kitap: kitab), `harmony` the vowel that an
    irregular word pretends to end in (saat: e).
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
    """Spell one suffix as it stands after `word`."""
    after_vowel = word[-1] in _HIGH_VOWEL
    suffix = re.sub(r"\((.)\)", lambda m: m[1] if after_vowel != (m[1] == "I") else "", suffix)
    spelled = ""
    for letter in suffix:
        sound = harmony if harmony and not re.search("[aeıiuüoö]", spelled) else word + spelled
        if letter == "A":
            letter = "a" if _last_vowel(sound) in "aıou" else "e"
        elif letter == "I":
            letter = _HIGH_VOWEL[_last_vowel(sound)]
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


def _turkish_noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give a noun in number, possession and case; `was` makes it a predicate (parktaydım)."""
    owner = _first(words, "persons", "names")
    suffixes: tuple[str, ...] = ("lAr",) if "pl" in keywords else ()
    cases = _CASES
    if "was" in keywords:
        suffixes += ("DA", "(y)DI", *_endings("k", owner))
        owner = None
    if owner:
        possession = _OWNED[_pick(keywords, _OWNED, "owned")][owner.agrees]
        suffixes += (possession,)
        cases = _CASES_AFTER_THIRD if possession.endswith(("(s)I", "lArI")) else _CASES
    suffixes += tuple(cases[keyword] for keyword in keywords if keyword in cases)
    stem, changes = _stem(noun)
    return attach(stem, *suffixes, **changes)


def _turkish_verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give a finite form in a tense and person, a verbal noun, or the participle -DIK with its owner."""
    subject = _first(words, "persons", "names")
    suffixes: tuple[str, ...] = ("mA",) if "not" in keywords else ()
    tense, verbal = _pick(keywords, _TENSES, ""), _pick(keywords, _VERBALS, "")
    if tense:
        marks, kind = _TENSES[tense]
        suffixes += (*marks, *(_endings(kind, subject) if subject else ()))
    elif verbal:
        suffixes += (_VERBALS[verbal],)
    elif "that" in keywords and subject:
        owned = _OWNED[_pick(keywords, _OWNED, "own")][subject.agrees]
        cases = _CASES_AFTER_THIRD if owned.endswith(("(s)I", "lArI")) else _CASES
        suffixes += ("DIK", owned, *(cases[keyword] for keyword in keywords if keyword in cases))
    if "ask" in keywords:
        suffixes += (" mI",)
    stem, changes = _stem(verb)
    return attach(stem, *suffixes, **changes)


def _turkish_person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give a person or city in a case; pronouns list theirs, names take an apostrophe; `for` is "için"."""
    if "not" in keywords:
        was = "was" in keywords
        return attach("değil", *["(y)DI"] * was, *_endings("k" if was else "z", person))
    order = ("nom", "acc", "dat", "gen", "for")
    case = _pick(keywords, (*order, *_CASES), "nom")
    if len(person.forms["tr"]) > 1:
        if case not in order:
            raise UnknownForm(f"{person.name!r} has no {case!r} in tr")
        return _part(person, "tr", order.index(case)).removeprefix("-")
    name = person.forms["tr"][0]
    if "citizen" in keywords:
        return attach(name, "lI")
    if case in ("nom", "for"):
        return name if case == "nom" else f"{name} için"
    form = attach(name, _CASES[case])
    return form if person.kind == "persons" else f"{name}'{form.removeprefix(name)}"


def _turkish_adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    subject = _first(words, "persons", "names")
    endings = _endings("z", subject) if subject and "is" in keywords else ()
    return attach(adjective.forms["tr"][0], *endings)


def _turkish_number(number: Lexeme, keywords: Keywords, words: Words) -> str:
    return attach(number.forms["tr"][0], *(_CASES[keyword] for keyword in keywords if keyword in _CASES))


# --- Chinese ------------------------------------------------------------------------------------------

_CHINESE = _table(he="我 你 他 她 我们 他们")


def _chinese_noun(noun: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give a noun ("本 书": 书), its classifier (cl: 本), its place (at: 在公园里) or conveyance (by: 坐火车)."""
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


def _chinese_verb(verb: Lexeme, keywords: Keywords, words: Words) -> str:
    action, _, rest = verb.forms["zh"][0].partition(" ")
    return f"{action}完{rest}" if "done" in keywords else action + rest


def _chinese_person(person: Lexeme, keywords: Keywords, words: Words) -> str:
    return _CHINESE["he"][person.agrees] if "he" in keywords else person.forms["zh"][0]


def _chinese_adjective(adjective: Lexeme, keywords: Keywords, words: Words) -> str:
    """Give the plain form, the one before a noun (attr: 漂亮的) or the predicate (is: 很漂亮, 是红色的)."""
    parts = adjective.forms["zh"]
    if "attr" in keywords:
        return parts[1] if len(parts) > 1 else parts[0]
    if "is" in keywords:
        return parts[2] if len(parts) > 2 else f"很{parts[0]}"
    return parts[0]


# --- All ----------------------------------------------------------------------------------------------

# what a slot may ask for beside the names of other slots
KEYWORDS = {
    "en": {"a", "pl", "at", "to", "acc", "gen", "er", "est", "present", "past", "participle", "ing", *_ENGLISH},
    "de": {
        *("der", "dies", "ein", "kein", "den", "pl", "at", "to", "er", "est", *_GERMAN_CASES, *_GERMAN),
        *("present", "final", "particle", "zu", "aux", "object", "done", "participle", "imperative"),
    },
    "tr": {
        *("pl", "was", "for", "citizen", "is", "not", "that", "ask", *_CASES, *_OWNED, *_TENSES, *_VERBALS),
    },
    "zh": {"cl", "at", "by", "he", "done", "attr", "is"},
}

Inflector = Callable[[Lexeme, Keywords, Words], str]
_INFLECTORS: dict[tuple[str, str], Inflector] = {
    ("en", "persons"): _english_person,
    ("en", "nouns"): _english_noun,
    ("en", "verbs"): _english_verb,
    ("en", "adjectives"): _english_adjective,
    ("de", "persons"): _german_person,
    ("de", "nouns"): _german_noun,
    ("de", "verbs"): _german_verb,
    ("de", "adjectives"): _german_adjective,
    ("tr", "persons"): _turkish_person,
    ("tr", "cities"): _turkish_person,
    ("tr", "nouns"): _turkish_noun,
    ("tr", "verbs"): _turkish_verb,
    ("tr", "adjectives"): _turkish_adjective,
    ("tr", "numbers"): _turkish_number,
    ("zh", "persons"): _chinese_person,
    ("zh", "nouns"): _chinese_noun,
    ("zh", "verbs"): _chinese_verb,
    ("zh", "adjectives"): _chinese_adjective,
}


@cache
def inflect(language: str, word: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return one form of `word`, agreeing with `words`; raises UnknownForm where there is none."""
    kind = "persons" if word.kind == "names" else word.kind
    inflector = _INFLECTORS.get((language, kind))
    return inflector(word, keywords, words) if inflector else word.forms[language][0]


def finish(language: str, sentence: str) -> str:
    """Squeeze the spaces that dropped words leave, contract German articles, begin with a capital."""
    sentence = re.sub(r" +([,.?!])", r"\1", re.sub(r" {2,}", " ", sentence)).strip()
    if language == "de":
        sentence = contract(sentence)
    if language == "tr" and sentence.startswith("i"):
        return "İ" + sentence[1:]
    return sentence[:1].upper() + sentence[1:]
