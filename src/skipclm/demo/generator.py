"""Generate the built-in corpus: line-aligned sentences in English, German, Turkish and Chinese.

The sentences are made from the frames, words and word groups in `resources/demo`, which users may edit. The README
there describes the notation. `grammar` inflects the words.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import yaml

from skipclm.demo import german, grammar
from skipclm.demo.words import KINDS, PERSONS, Lexeme, UnknownForm
from skipclm.errors import InputError
from skipclm.runtime.atomic import write_lines

LANGUAGES = ("en", "de", "tr", "zh")
_MAX_REPEATS = 20_000  # draws in a row without a new sentence, after which the frames are exhausted
_SLOT = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Slot:
    """One slot of a template: its name, the keywords of its form and the other slots that it agrees with."""

    name: str
    keywords: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """One sentence pattern: the candidate words of each slot, and a template of texts and slots for each language."""

    name: str
    weight: float
    slots: dict[str, tuple[Lexeme, ...]]
    templates: dict[str, tuple[str | Slot, ...]]

    def fill(self, rng: random.Random) -> dict[str, Lexeme]:
        """Choose a word for every slot; all words differ."""
        chosen: dict[str, Lexeme] = {}
        for slot, candidates in self.slots.items():
            word = rng.choice(candidates)
            while word in chosen.values():
                word = rng.choice(candidates)
            chosen[slot] = word
        return chosen

    def render(self, language: str, chosen: dict[str, Lexeme]) -> str:
        """Return the sentence in one language."""
        pieces = (
            piece
            if isinstance(piece, str)
            else grammar.inflect(
                language, chosen[piece.name], piece.keywords, tuple(chosen[other] for other in piece.others)
            )
            for piece in self.templates[language]
        )
        return grammar.finish(language, "".join(pieces))

    def count(self) -> int:
        """Return a lower bound of the number of ways to fill the slots with different words."""
        sizes, seen = [], []
        for candidates in map(set, self.slots.values()):
            sizes.append(len(candidates) - sum(not candidates.isdisjoint(earlier) for earlier in seen))
            seen.append(candidates)
        return prod(sizes)


def resource_folder() -> Path:
    """Return the folder of frames and words: in the installed package if it exists, else in the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "resources" / "demo"
    return installed if installed.is_dir() else package.parents[1] / "resources" / "demo"


@cache
def load_frames(folder: Path | None = None) -> tuple[Frame, ...]:
    """Read and check the frames with their words; an InputError names the file and the entry."""
    folder = folder or resource_folder()
    words = _load_words(folder / "lexicon.yaml")
    groups = _load_groups(folder / "groups.yaml", words)
    path = folder / "frames.yaml"
    frames = tuple(_load_frame(path, entry, groups) for entry in _read_yaml(path, list))
    for frame in frames:
        _check_forms(path, frame)
    return frames


def count_reachable(folder: Path | None = None) -> int:
    """Return a lower bound of the number of different sentences."""
    return sum(frame.count() for frame in load_frames(folder))


def generate(count: int, seed: int) -> list[dict[str, str]]:
    """Return `count` sentences, each in all languages, in an order that `seed` fixes.

    All English sentences differ. Raises InputError if the frames cannot produce that many.
    """
    frames, rng = load_frames(), random.Random(seed)
    weights = [frame.weight for frame in frames]
    sentences: dict[str, dict[str, str]] = {}
    repeats = _MAX_REPEATS if count > count_reachable() else 0
    while len(sentences) < count and repeats < _MAX_REPEATS:
        frame = rng.choices(frames, weights)[0]
        chosen = frame.fill(rng)
        english = frame.render("en", chosen)
        repeats += 1
        if english not in sentences:
            sentences[english] = {language: frame.render(language, chosen) for language in LANGUAGES}
            repeats = 0
    if len(sentences) < count:
        raise InputError(
            f"expected a number of sentences within reach (about {count_reachable():,}), found {count:,}; "
            f"ask for fewer, or add words or frames to {resource_folder()}"
        )
    return list(sentences.values())


def write_corpus(folder: str | Path, count: int, seed: int) -> list[Path]:
    """Write demo.en, demo.de ..., one sentence per line, and return their paths."""
    sentences = generate(count, seed)
    paths = {language: Path(folder) / f"demo.{language}" for language in LANGUAGES}
    for language, path in paths.items():
        write_lines(path, [sentence[language] for sentence in sentences])
    return list(paths.values())


# Reading and checking the resources


def _problem(path: Path, entry: str, expected: str, actual: object, remedy: str) -> InputError:
    return InputError(f"{path}, {entry}: expected {expected}, found {actual}. {remedy}")


def _read_yaml(path: Path, kind: type) -> Any:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _problem(path, "whole file", "a file", "none", "Restore it from the repository.") from None
    except yaml.YAMLError as error:
        raise _problem(path, "whole file", "YAML", error, "Correct the syntax.") from None
    if not isinstance(content, kind):
        name = type(content).__name__
        raise _problem(path, "whole file", f"a {kind.__name__}", name, "See the README beside it.")
    return content


def _load_words(path: Path) -> dict[str, Lexeme]:
    words: dict[str, Lexeme] = {}
    for kind, entries in _read_yaml(path, dict).items():
        if kind not in KINDS:
            allowed = ", ".join(KINDS)
            raise _problem(path, str(kind), f"a part of speech among {allowed}", kind, "Rename the section.")
        for name, entry in entries.items():
            if name in words:
                raise _problem(path, f"{kind}, {name}", "a unique name", "it twice", "Rename one.")
            words[name] = _load_word(path, kind, name, entry)
    return words


def _load_word(path: Path, kind: str, name: str, entry: Any) -> Lexeme:
    entry_name = f"{kind}, {name}"
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise _problem(path, entry_name, "a mapping to texts", entry, "Write it like its neighbours.")
    missing = [language for language in LANGUAGES if not entry.get(language)]
    if missing:
        raise _problem(
            path, entry_name, f"forms in {', '.join(LANGUAGES)}", "none in " + ", ".join(missing), "Add them."
        )
    if kind in ("persons", "names") and entry.get("agrees") not in PERSONS:
        allowed = ", ".join(PERSONS)
        raise _problem(path, entry_name, f"'agrees' among {allowed}", entry.get("agrees"), "Set it.")
    if kind == "nouns" and entry["de"].split()[0] not in german.GENDERS:
        raise _problem(path, entry_name, "der, die or das before the German noun", entry["de"], "Put it there.")
    forms = {language: tuple(entry[language].split(" / ")) for language in LANGUAGES}
    return Lexeme(name, kind, forms, {key: entry[key] for key in entry if key not in LANGUAGES})


def _load_groups(path: Path, words: dict[str, Lexeme]) -> dict[str, tuple[Lexeme, ...]]:
    """Resolve each group to its words. Each word also forms a group of its own."""
    raw = _read_yaml(path, dict)

    def members(name: str, within: tuple[str, ...]) -> Iterator[Lexeme]:
        """Yield the words of a group and of the groups in it; `within` lists the enclosing groups."""
        if name in within:
            raise _problem(path, within[0], "no circle of groups", " > ".join((*within, name)), "Break it.")
        if name in raw:
            for member in raw[name]:
                yield from members(member, (*within, name))
        elif name in words:
            yield words[name]
        else:
            raise _problem(path, within[-1], "a word or a group", repr(name), "Define it or correct the spelling.")

    shared = sorted(set(raw) & set(words))
    if shared:
        raise _problem(path, shared[0], "a name that no word has", repr(shared[0]), "Rename the group.")
    groups = {name: tuple(dict.fromkeys(members(name, ()))) for name in raw}
    return groups | {name: (word,) for name, word in words.items()}


def _load_frame(path: Path, entry: dict[str, Any], groups: dict[str, tuple[Lexeme, ...]]) -> Frame:
    entry_name = f"frame {entry.get('name', entry)!r}" if isinstance(entry, dict) else f"frame {entry!r}"
    required = ("name", "slots", *LANGUAGES)
    missing = [key for key in required if key not in entry]
    unknown = [key for key in entry if key not in (*required, "weight")]
    if missing or unknown:
        faults = "; ".join([f"no {key!r}" for key in missing] + [f"{key!r}, which is unknown" for key in unknown])
        raise _problem(path, entry_name, f"the keys {', '.join(required)}", faults, "Correct the entry.")
    for group in entry["slots"].values():
        if group not in groups:
            raise _problem(path, entry_name, "slots of known words or groups", repr(group), "Correct the spelling.")
    slots = {slot: groups[group] for slot, group in entry["slots"].items()}
    templates = {
        language: tuple(_parse_template(path, entry_name, language, entry[language], slots)) for language in LANGUAGES
    }
    return Frame(entry["name"], float(entry.get("weight", 1)), slots, templates)


def _parse_template(
    path: Path, entry_name: str, language: str, template: str, slots: dict[str, tuple[Lexeme, ...]]
) -> Iterator[str | Slot]:
    """Split "{who} {verb past} tea." into texts and slots; each slot with several words must be used."""
    used: set[str] = set()
    for index, piece in enumerate(_SLOT.split(template)):
        if index % 2 == 0:
            yield piece
            continue
        name, *tokens = piece.split() or [""]
        others = tuple(token for token in tokens if token in slots)
        keywords = tuple(token for token in tokens if token not in slots)
        unknown = {name} - set(slots) or set(keywords) - grammar.KEYWORDS[language]
        if unknown:
            known = ", ".join([*slots, *sorted(grammar.KEYWORDS[language])])
            raise _problem(
                path, f"{entry_name}, {language}", f"in {{{piece}}} only {known}", unknown.pop(), "Correct it."
            )
        used |= {name, *others}
        yield Slot(name, keywords, others)
    unused = [slot for slot, words in slots.items() if len(words) > 1 and slot not in used]
    if unused:
        raise _problem(path, f"{entry_name}, {language}", "every slot to be used", f"none of {unused}", "Use it.")


def _check_forms(path: Path, frame: Frame) -> None:
    """Render the frame once with each word of each slot, to detect missing forms."""
    if frame.count() < 1:
        raise _problem(path, f"frame {frame.name!r}", "enough words for its slots", "too few", "Widen a group.")
    first = frame.fill(random.Random(0))
    for slot, candidates in frame.slots.items():
        for word in candidates:
            for language in LANGUAGES:
                try:
                    frame.render(language, first | {slot: word})
                except UnknownForm as error:
                    raise _problem(
                        path,
                        f"frame {frame.name!r}, {language}",
                        f"a form for {word.name!r} in slot {slot!r}",
                        error,
                        "Add it to lexicon.yaml.",
                    ) from None
