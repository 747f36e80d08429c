"""Clean parallel text and split it so that no sentence of any language is in two splits.

Reads   the sources of `corpus.train`, `corpus.valid`, `corpus.test` and `corpus.more_tests`
Writes  <pair>/<split>.<language>, one sentence a line, summary.tsv, and summary.<name>.tsv of each further test set;
        `warnings` there says what in the text that was read is likely to be no text, see `text_checks`

All pairs are split together: with English on one side of each, a sentence held out of en-de must not be
trained on in en-tr either.

Every row is accounted for. Of a split with its own source, and of train together with the splits carved from
it, read = blank + long + ratio + duplicate + overlap + surplus + pairs, where
blank, long, ratio, duplicate   did not pass the cleaning (see `clean`)
overlap                         shares a sentence with a split of higher precedence: test, valid, train, and after
                                valid and train, whatever test holds, further test sets
surplus                         was left over when the size asked for was reached
Carved splits read nothing themselves: what was read and cleaned for them stands in train's row.

A test set with a source of its own and `size: null` is kept whole, line by line: of it, only rows with a blank side are
dropped, and from further test sets what train or valid has. Train and valid give way to `test`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import pandas as pd
from sacrebleu.metrics import BLEU

from skipclm.data import language_id, sources, text_checks
from skipclm.data.sources import SPLITS, Row
from skipclm.data.text_files import read_lines
from skipclm.errors import InputError, naming
from skipclm.pairs import Pair
from skipclm.runtime import atomic, tsv
from skipclm.text import is_copy, is_visible, key, tidy

DROPS = ("blank", "long", "ratio", "duplicate", "overlap", "surplus")
COLUMNS = (
    *("pair", "split", "origin", "read", *DROPS, "pairs"),
    *("source_tokens", "target_tokens", "source_sha256", "target_sha256", "warnings"),
)

LOOKED_AT = 200  # pairs of a source, to tell the languages of its sides
ENOUGH = 20  # fewer pairs tell nothing of one side by itself
CERTAIN = 0.8  # share of sentences in the other side's language that leaves no doubt
DOUBTFUL = 0.3  # share of sentences in another language that is more than the identifier's mistakes

Sentence = tuple[str, str]  # language, key of the text (see `text.key`)


@dataclass(frozen=True)
class Part:
    """The rows of one pair in one split, where they are from, how many were read and dropped for what, and warnings."""

    origin: str
    rows: list[Row]
    counts: Counter = field(default_factory=Counter)
    warnings: tuple[str, ...] = ()

    def keep(self, rows: list[Row], reason: str) -> "Part":
        """Return a part with only `rows`, the others counted as dropped for `reason`."""
        return replace(self, rows=rows, counts=self.counts + Counter({reason: len(self.rows) - len(rows)}))

    def history(self) -> str:
        """Return the counts in words, for messages."""
        return ", ".join(f"{self.counts[name]} {name}" for name in ("read", *DROPS) if self.counts[name])


Parts = dict[str, Part]  # by pair


def build_corpus(corpus: dict, languages: dict, pairs: list[str], folder_out: str | Path) -> None:
    """Read, clean and split every pair, then write `<pair>/<split>.<language>` and `summary.tsv`.

    Nothing is written before everything is split, so an InputError leaves `folder_out` as it was.
    """
    sources.check_files(corpus, languages, pairs)
    parts = {split: _load(corpus, split, languages, pairs) for split in SPLITS if corpus[split]["source"]}
    sizes = {split: corpus[split]["size"] for split in SPLITS}
    parts = split_corpus(parts, sizes, corpus["seed"], corpus["largest_group"])
    _write(Path(folder_out), parts, "summary.tsv")


def add_test(corpus: dict, name: str, languages: dict, pairs: list[str], folder: str | Path) -> None:
    """Add a further test set to the corpus in `folder`: `<pair>/<name>.<language>` and `summary.<name>.tsv`.

    `corpus` holds folder, seed and cleaning, and under `name` the set's source and size. The other splits stay as they
    are, so that nothing is trained anew for one more test: what shares a sentence with train or valid is left out
    here, and counted; with `size: null` all other rows stay. Raises InputError as `build_corpus` does.
    """
    sources.check_files(corpus, languages, pairs, [name])
    built = {split: _read_built(Path(folder), split, pairs) for split in ("train", "valid")}
    seen = set.union(*map(_sentences, built.values()))
    parts = _resize(_without(_load(corpus, name, languages, pairs), seen), name, corpus[name]["size"], corpus["seed"])
    _write(Path(folder), {name: parts}, f"summary.{name}.tsv")


def clean(pairs: Iterable[Row], max_bytes: int, max_ratio: float) -> tuple[list[Row], Counter]:
    """Return the rows worth keeping, in order, and how many were dropped as blank, long, ratio or duplicate.

    Sentences become NFC with single spaces. Lengths are UTF-8 bytes, for in bytes a Chinese character counts
    like the three letters it stands for: a row is `long` if a side has more than `max_bytes`, and fails by
    `ratio` if one side is more than `max_ratio` times the other. A `duplicate` repeats both sides of a row, but for
    characters that cannot be seen.
    """
    kept, dropped = {}, Counter()
    for source, target in pairs:
        row = tidy(source), tidy(target)
        keys = key(row[0]), key(row[1])
        fault = _fault(row, max_bytes, max_ratio) or ("duplicate" if keys in kept else None)
        if fault:
            dropped[fault] += 1
        else:
            kept[keys] = row
    return list(kept.values()), dropped


def without_blanks(pairs: Iterable[Row]) -> tuple[list[Row], Counter]:
    """Return all rows but those with a blank side, in order and tidy, and how many are blank."""
    rows = [(tidy(source), tidy(target)) for source, target in pairs]
    kept = [row for row in rows if all(map(is_visible, row))]
    return kept, Counter(blank=len(rows) - len(kept))


def split_corpus(
    parts: dict[str, Parts], sizes: dict[str, int | None], seed: int, largest_group: int
) -> dict[str, Parts]:
    """Return train, valid and test, by split and pair, such that no sentence is in two of them.

    `parts` holds the splits that have a source, train always; the others are carved from train. Sizes are per
    pair, None for all. Test has precedence over valid and valid over train. Train is shuffled; a split with
    its own source keeps that order; a carved one is in the random order in which it was dealt, so that its
    first n rows are a fair sample too. Raises InputError where a pair has too few rows.

    Carving deals whole groups, see `group_rows`. Groups of more than `largest_group` rows stay in train:
    short everyday sentences have many translations, which translate many others, and so they percolate into
    giant groups, any of which could fill a test set with one topic, or cost it a large surplus.
    """
    pool, held, result = parts["train"], set(), {}
    for split in ("test", "valid"):
        if split in parts:
            result[split] = _resize(_without(parts[split], held), split, sizes[split], seed)
        else:
            result[split], pool = _carve(pool, split, sizes[split], seed, largest_group)
        held = _sentences(result[split])
        pool = _without(pool, held)
    train = _resize(pool, "train", sizes["train"], seed)
    result["train"] = {pair: _shuffle(part, seed) for pair, part in train.items()}
    return {split: result[split] for split in SPLITS}


def group_rows(parts: Parts) -> dict[Sentence, list[tuple[str, Row]]]:
    """Return the rows of all pairs in groups that share no sentence, each under its smallest sentence.

    Rows that have a sentence in common, in any language, are in one group, and so on from row to row: the
    connected components of the graph of sentences. Within a group, rows keep their order.
    """
    parent: dict[Sentence, Sentence] = {}

    def root(sentence: Sentence) -> Sentence:
        while (above := parent.setdefault(sentence, sentence)) != sentence:
            parent[sentence] = parent[above]
            sentence = above
        return sentence

    rows = [(pair, row) for pair, part in parts.items() for row in part.rows]
    for pair, row in rows:
        low, high = sorted(root(sentence) for sentence in _keys(pair, row))
        parent[high] = low
    groups = defaultdict(list)
    for pair, row in rows:
        groups[root(_keys(pair, row)[0])].append((pair, row))
    return dict(groups)


def _load(corpus: dict, split: str, languages: dict, pairs: list[str]) -> Parts:
    source, parts = corpus[split]["source"], {}
    for pair in pairs:
        with naming(sources.config_key(source, split)):
            raw = sources.read(source, corpus["folder"], languages, pair)
            is_whole = split not in ("train", "valid") and corpus[split]["size"] is None
            rows, dropped = without_blanks(raw) if is_whole else clean(raw, **corpus["cleaning"])
            part = Part(sources.origin(source, languages, pair), rows, Counter(read=len(raw)) + dropped)
            if not rows:
                raise InputError(
                    f"expected sentence pairs of {pair} in {part.origin}, found none fit to use "
                    f"({part.history() or '0 read'}); check the source, or loosen corpus.cleaning"
                )
            warnings = (*_text_warnings(raw, pair), *_check_languages(rows, pair, sorted(languages)))
        for warning in warnings:
            print(f"warning: {pair} {split}: {warning}")
        parts[pair] = replace(part, warnings=warnings)
    return parts


def _text_warnings(raw: list[Row], pair: str) -> list[str]:
    """Say what in the rows of a source, as they were read, is likely to be no text."""
    found = []
    for language, sentences in zip(Pair(pair).languages, zip(*raw, strict=True), strict=True):
        with naming(f"{language} of {pair}"):
            found += [f"{language}: {warning}" for warning in text_checks.check_text(sentences)]
    return found


def _check_languages(rows: list[Row], pair: str, languages: list[str]) -> list[str]:
    """Say which side is likely to be in another of the `languages` than in its own.

    Raises an `InputError` if the sides are swapped, if one is in the other's language, or if they are the same text.
    """
    looked_at = rows[:: math.ceil(len(rows) / LOOKED_AT)]
    copies = sum(is_copy(target, source) for source, target in looked_at)
    if len(looked_at) >= ENOUGH and copies > len(looked_at) / 2:
        raise InputError(
            f"expected sentences and translations, found the same text on both sides in {copies} of {len(looked_at)} "
            "pairs looked at; correct the source's files or fields"
        )
    _check_swapped(looked_at, pair)
    return [
        warning
        for number, language in enumerate(Pair(pair).languages)
        for warning in _check_side([row[number] for row in looked_at], language, pair, languages)
    ]


def _check_side(sentences: list[str], language: str, pair: str, languages: list[str]) -> list[str]:
    """Do for one side what `_check_languages` does; `sentences` are the ones that are looked at."""
    known = [each for each in languages if language_id.knows(each)]
    if len(sentences) < ENOUGH or language not in known:
        return []
    sides = Pair(pair).languages
    (other,) = set(sides) - {language}
    wrong = [text for text in sentences if other in known and language_id.is_wrong_language(text, language, sides)]
    if len(wrong) > CERTAIN * len(sentences):
        raise InputError(
            f"expected {language} on its side of {pair}, found {other} in {len(wrong)} of {len(sentences)} "
            f"sentences looked at, such as {wrong[0]!r}; correct the source's files or fields"
        )
    wrong = [text for text in sentences if language_id.is_wrong_language(text, language, known)]
    if len(wrong) <= DOUBTFUL * len(sentences):
        return []
    return [
        f"{language}: {len(wrong)} of {len(sentences)} sentences looked at seem to be in another language, such as "
        f"{wrong[0]!r}"
    ]


def _check_swapped(looked_at: list[Row], pair: str) -> None:
    """Raise an `InputError` if most of the text is in each other's language."""
    languages = Pair(pair).languages
    if not all(map(language_id.knows, languages)):
        return
    swapped = [
        all(
            language_id.is_wrong_language(text, language, languages)
            for text, language in zip(row, languages, strict=True)
        )
        for row in looked_at
    ]
    if sum(swapped) > len(swapped) / 2:
        source, target = languages
        raise InputError(
            f"expected {source} first and {target} second, found them swapped in "
            f"{sum(swapped)} of {len(swapped)} pairs looked at, such as {' / '.join(looked_at[swapped.index(True)])}; "
            "swap the columns or files, or correct the source's keys (for tsv, `first`)"
        )


def _read_built(folder: Path, split: str, pairs: list[str]) -> Parts:
    parts = {}
    for pair in pairs:
        sides = [read_lines(folder / pair / f"{split}.{language}") for language in Pair(pair).languages]
        parts[pair] = Part("", list(zip(*sides, strict=True)))
    return parts


def _fault(row: Row, max_bytes: int, max_ratio: float) -> str | None:
    # Surrogates are gone by now, so encoding cannot fail.
    short, long = sorted(len(sentence.encode()) for sentence in row)
    if not all(map(is_visible, row)):
        return "blank"
    if long > max_bytes:
        return "long"
    return "ratio" if long > max_ratio * short else None


def _keys(pair: str, row: Row) -> tuple[Sentence, Sentence]:
    source, target = Pair(pair).languages
    return (source, key(row[0])), (target, key(row[1]))


def _sentences(parts: Parts) -> set[Sentence]:
    return {sentence for pair, part in parts.items() for row in part.rows for sentence in _keys(pair, row)}


def _rank(seed: int, *texts: str) -> bytes:
    # A random order that is a matter of the text itself: it is the same for every input order, process and
    # pair, and a sentence more or less in the corpus leaves the others where they were.
    return blake2b("\0".join((str(seed), *map(key, texts))).encode(), digest_size=16).digest()


def _without(parts: Parts, held: set[Sentence]) -> Parts:
    return {
        pair: part.keep([row for row in part.rows if held.isdisjoint(_keys(pair, row))], "overlap")
        for pair, part in parts.items()
    }


def _resize(parts: Parts, split: str, size: int | None, seed: int) -> Parts:
    place = split if split in SPLITS else f"more_tests.{split}"
    keys = [f"corpus.{each}.size" for each in (SPLITS if split == "train" else (place,))]
    for pair, part in parts.items():
        if len(part.rows) < (size or 1):
            raise InputError(
                f"corpus.{place}.size: expected at least {size or 1} pairs of {pair}, found {len(part.rows)} "
                f"({part.history()}); lower {' or '.join(keys)}, or add text"
            )
    if size is None:
        return parts
    return {pair: part.keep(_sample(part.rows, size, seed), "surplus") for pair, part in parts.items()}


def _sample(rows: list[Row], size: int, seed: int) -> list[Row]:
    # By source sentence first: pairs that share their English then keep the same part of it.
    chosen = set(sorted(rows, key=lambda row: (_rank(seed, row[0]), _rank(seed, *row)))[:size])
    return [row for row in rows if row in chosen]


def _shuffle(part: Part, seed: int) -> Part:
    return replace(part, rows=sorted(part.rows, key=lambda row: _rank(seed, *row)))


def _carve(pool: Parts, split: str, size: int, seed: int, largest_group: int) -> tuple[Parts, Parts]:
    dealt = {pair: [] for pair in pool}  # may hold more than `size`
    groups = group_rows(pool)
    for name in sorted(groups, key=lambda sentence: _rank(seed, *sentence)):
        group = groups[name]
        if len(group) > largest_group or all(len(dealt[pair]) >= size for pair, _ in group):
            continue
        for pair, row in group:
            dealt[pair].append(row)
    _check_carved(pool, dealt, split, size, largest_group)
    carved, rest = {}, {}
    for pair, part in pool.items():
        gone = set(dealt[pair])
        carved[pair] = Part("carved from train", dealt[pair]).keep(dealt[pair][:size], "surplus")
        rest[pair] = replace(part, rows=[row for row in part.rows if row not in gone])
    return carved, rest


def _check_carved(pool: Parts, dealt: dict[str, list[Row]], split: str, size: int, largest: int) -> None:
    for pair, rows in dealt.items():
        if len(rows) < size:
            stay = len(pool[pair].rows) - len(rows)
            raise InputError(
                f"corpus.{split}.size: expected at least {size} pairs of {pair} to carve from train, "
                f"found {len(rows)} ({pool[pair].history()}; {stay} more are in groups of over {largest} pairs that "
                "share sentences, which stay in train); lower corpus.valid.size or corpus.test.size, raise "
                "corpus.largest_group, or add text"
            )


def _count_tokens(lines: list[str]) -> int:
    """Count tokens as sacrebleu's `zh` does: words and punctuation, and each Chinese character, in any language."""
    tokenize = BLEU(tokenize="zh").tokenizer
    return sum(len(tokenize(line).split()) for line in lines)


def _write(folder: Path, parts: dict[str, Parts], summary: str) -> None:
    """Write every part's sentences, and a table of what became of its rows."""
    pairs = next(iter(parts.values()))
    rows = [_write_part(folder, pair, split, parts[split][pair]) for pair in pairs for split in parts]
    tsv.write(folder / summary, pd.DataFrame(rows, columns=COLUMNS))


def _write_part(folder: Path, pair: str, split: str, part: Part) -> dict:
    row = {"pair": pair, "split": split, "pairs": len(part.rows)}
    row |= {"origin": tidy(part.origin), "warnings": tidy("; ".join(part.warnings))}  # names of files may hold tabs
    row |= {name: part.counts[name] for name in ("read", *DROPS)}
    for number, (side, language) in enumerate(zip(("source", "target"), Pair(pair).languages, strict=True)):
        lines = [sentences[number] for sentences in part.rows]
        path = folder / pair / f"{split}.{language}"
        atomic.write_lines(path, lines)
        row |= {f"{side}_tokens": _count_tokens(lines), f"{side}_sha256": atomic.sha256(path)}
    return row
