"""Inflect the words of the built-in corpus: English, German, Turkish and Chinese.

A slot such as `{what ein acc color}` requests one form of one word. `inflect` receives the word, the keywords
(`ein`, `acc`) and the other words that it must agree with (`color`). Each language is a module with one pure function
per part of speech.
"""

import re
from functools import cache

from skipclm.demo import chinese, english, german, turkish
from skipclm.demo.words import Keywords, Lexeme, Words

_GRAMMARS = {"en": english, "de": german, "tr": turkish, "zh": chinese}
KEYWORDS = {language: grammar.KEYWORDS for language, grammar in _GRAMMARS.items()}


@cache
def inflect(language: str, word: Lexeme, keywords: Keywords, words: Words) -> str:
    """Return the form of `word` that agrees with `words`; raises UnknownForm if the word does not have it."""
    kind = "persons" if word.kind == "names" else word.kind
    inflector = _GRAMMARS[language].INFLECTORS.get(kind)
    return inflector(word, keywords, words) if inflector else word.forms[language][0]


def finish(language: str, sentence: str) -> str:
    """Remove extra spaces, contract German articles, and capitalize the first letter."""
    sentence = re.sub(r" +([,.?!])", r"\1", re.sub(r" {2,}", " ", sentence)).strip()
    if language == "de":
        sentence = german.contract(sentence)
    if language == "tr" and sentence.startswith("i"):
        return "İ" + sentence[1:]
    return sentence[:1].upper() + sentence[1:]
