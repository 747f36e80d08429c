"""Clean parallel text and split it so that no sentence of any language is in two splits.

Reads   the sources of `corpus.train`, `corpus.valid`, `corpus.test` and `corpus.more_tests`
Writes  <pair>/<split>.<language>, one sentence per line; summary.tsv; summary.<name>.tsv for each further test set.
        The column `warnings` reports input that is probably not plain text, see `text_checks`

All pairs are split together. Pairs often share a language: a test sentence of en-de must not be in the training data of
en-tr either.

The summary counts every row. For a split with its own source, and for the sum of train and the splits carved from it,
read = blank + long + ratio + duplicate + overlap + surplus + pairs, where
blank, long, ratio, duplicate   rows that `clean` dropped
overlap                         rows that share a sentence with a split of higher precedence. The order is test, valid,
                                train. Further test sets come after valid and train; they may share sentences with test
surplus                         rows beyond the configured size
A carved split reads no rows itself. In the summary, the row of train includes what was read and cleaned for it.

A test set with its own source and `size: null` is not cleaned: only rows with a blank side are dropped. From a further
test set, overlap with train and valid is dropped as well. `test` has no overlap: train and valid lose the shared rows.
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

SAMPLE_SIZE = 200  # pairs of a source that language identification examines, at most
MIN_SENTENCES = 20  # with fewer, the language of one side is not checked
ERROR_SHARE = 0.8  # a larger share of sentences in the language of the other side is an error
WARNING_SHARE = 0.3  # a larger share of sentences in another language is a warning; the identifier makes mistakes

Sentence = tuple[str, str]  # language, key of the text (see `text.key`)


@dataclass(frozen=True)
class Part:
    """The rows of one pair in one split.

    `origin` is a label of the source. `counts` says how many rows were read, and how many were dropped for each reason.
    """

    origin: str
    rows: list[Row]
    counts: Counter = field(default_factory=Counter)
    warnings: tuple[str, ...] = ()

    def keep(self, rows: list[Row], reason: str) -> "Part":
        """Return a part with only `rows`; the other rows count as dropped for `reason`."""
        return replace(self, rows=rows, counts=self.counts + Counter({reason: len(self.rows) - len(rows)}))

    def history(self) -> str:
        """Return the counts as text for messages, such as "16 read, 1 blank"."""
        return ", ".join(f"{self.counts[name]} {name}" for name in ("read", *DROPS) if self.counts[name])


Parts = dict[str, Part]  # by pair


def build_corpus(corpus: dict, languages: dict, pairs: list[str], folder_out: str | Path) -> None:
    """Read, clean and split every pair, then write `<pair>/<split>.<language>` and `summary.tsv`.

    All splits are complete before the first file is written, so an InputError leaves `folder_out` unchanged.
    """
    sources.check_files(corpus, languages, pairs)
    parts = {split: _load(corpus, split, languages, pairs) for split in SPLITS if corpus[split]["source"]}
    sizes = {split: corpus[split]["size"] for split in SPLITS}
    parts = split_corpus(parts, sizes, corpus["seed"], corpus["largest_group"])
    _write(Path(folder_out), parts, "summary.tsv")


def add_test(corpus: dict, name: str, languages: dict, pairs: list[str], folder: str | Path) -> None:
    """Add a further test set to the corpus in `folder`: `<pair>/<name>.<language>` and `summary.<name>.tsv`.

    `corpus` holds folder, seed and cleaning, and under `name` the source and size of the test set. The other splits do
    not change, so no model has to be trained again. Rows that share a sentence with train or valid are removed from the
    test set and counted; with `size: null`, all other rows are kept. Raises InputError as `build_corpus` does.
    """
    sources.check_files(corpus, languages, pairs, [name])
    built = {split: _read_built(Path(folder), split, pairs) for split in ("train", "valid")}
    parts = _drop_overlap(_load(corpus, name, languages, pairs), set.union(*map(_sentences, built.values())))
    parts = _resize(parts, name, corpus[name]["size"], corpus["seed"])
    _write(Path(folder), {name: parts}, f"summary.{name}.tsv")


def clean(pairs: Iterable[Row], max_bytes: int, max_ratio: float) -> tuple[list[Row], Counter]:
    """Return the clean rows, in order, and how many were dropped as blank, long, ratio or duplicate.

    Sentences become NFC with single spaces. Lengths are in UTF-8 bytes: a Chinese character has three bytes and stands
    for about three letters. A row is `long` if a side has more than `max_bytes`. It is dropped by `ratio` if one side
    is more than `max_ratio` times as long as the other. A `duplicate` repeats both sides of an earlier row; invisible
    characters are not compared.
    """
    rows, dropped = {}, Counter()
    for source, target in pairs:
        row = tidy(source), tidy(target)
        keys = key(row[0]), key(row[1])
        reason = _drop_reason(row, max_bytes, max_ratio) or ("duplicate" if keys in rows else None)
        if reason:
            dropped[reason] += 1
        else:
            rows[keys] = row
    return list(rows.values()), dropped


def without_blanks(pairs: Iterable[Row]) -> tuple[list[Row], Counter]:
    """Return the rows without a blank side, in order and with `tidy` applied, and how many rows were blank."""
    rows = [(tidy(source), tidy(target)) for source, target in pairs]
    visible = [row for row in rows if all(map(is_visible, row))]
    return visible, Counter(blank=len(rows) - len(visible))


def split_corpus(
    parts: dict[str, Parts], sizes: dict[str, int | None], seed: int, largest_group: int
) -> dict[str, Parts]:
    """Return train, valid and test, by split and pair, such that no sentence is in two of them.

    `parts` holds the splits that have a source; train always has one. The other splits are carved from train. Sizes are
    per pair; None means all rows. Test has precedence over valid, and valid over train. Train is shuffled. A split with
    its own source keeps the order of the source. A carved split is in random order, so its first n rows are a random
    sample too. Raises InputError if a pair has too few rows.

    Carving moves whole groups, see `group_rows`. Groups of more than `largest_group` rows stay in train. Such groups
    form because short everyday sentences have many translations, which in turn have many translations. One of them
    could fill a test set with one topic, or leave a large surplus.
    """
    pool, reserved, result = parts["train"], set(), {}
    for split in ("test", "valid"):
        if split in parts:
            result[split] = _resize(_drop_overlap(parts[split], reserved), split, sizes[split], seed)
        else:
            result[split], pool = _carve(pool, split, sizes[split], seed, largest_group)
        reserved = _sentences(result[split])
        pool = _drop_overlap(pool, reserved)
    train = _resize(pool, "train", sizes["train"], seed)
    result["train"] = {pair: _shuffle(part, seed) for pair, part in train.items()}
    return {split: result[split] for split in SPLITS}


def group_rows(parts: Parts) -> dict[Sentence, list[tuple[str, Row]]]:
    """Return the rows of all pairs in groups that share no sentence; the key of a group is its smallest sentence.

    The groups are the connected components of a graph: its nodes are the sentences of all languages, its edges the
    rows. Within a group, rows keep their order.
    """
    parent: dict[Sentence, Sentence] = {}

    def root(sentence: Sentence) -> Sentence:
        """Return the sentence that represents the group, and shorten the path to it."""
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
            keeps_all = split not in ("train", "valid") and corpus[split]["size"] is None
            rows, dropped = without_blanks(raw) if keeps_all else clean(raw, **corpus["cleaning"])
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
    """Return warnings about raw rows that are probably not plain text."""
    warnings = []
    for language, sentences in zip(Pair(pair).languages, zip(*raw, strict=True), strict=True):
        with naming(f"{language} of {pair}"):
            warnings += [f"{language}: {warning}" for warning in text_checks.check_text(sentences)]
    return warnings


def _check_languages(rows: list[Row], pair: str, languages: list[str]) -> list[str]:
    """Return a warning for each side that is probably in another one of `languages`.

    Raises an `InputError` if the sides are swapped, if both are in the same language, or if both are the same text.
    """
    sample = rows[:: math.ceil(len(rows) / SAMPLE_SIZE)]
    copies = sum(is_copy(target, source) for source, target in sample)
    if len(sample) >= MIN_SENTENCES and copies > len(sample) / 2:
        raise InputError(
            f"expected sentences and translations, found the same text on both sides in {copies} of {len(sample)} "
            "sampled pairs; correct the source's files or fields"
        )
    _check_swapped(sample, pair)
    return [
        warning
        for number, language in enumerate(Pair(pair).languages)
        for warning in _check_side([row[number] for row in sample], language, pair, languages)
    ]


def _check_side(sentences: list[str], language: str, pair: str, languages: list[str]) -> list[str]:
    """Check the language of one side, given a sample of its sentences; see `_check_languages`."""
    known = [name for name in languages if language_id.knows(name)]
    if len(sentences) < MIN_SENTENCES or language not in known:
        return []
    sides = Pair(pair).languages
    (other,) = set(sides) - {language}
    wrong = [text for text in sentences if other in known and language_id.is_wrong_language(text, language, sides)]
    if len(wrong) > ERROR_SHARE * len(sentences):
        raise InputError(
            f"expected {language} on its side of {pair}, found {other} in {len(wrong)} of {len(sentences)} "
            f"sampled sentences, such as {wrong[0]!r}; correct the source's files or fields"
        )
    wrong = [text for text in sentences if language_id.is_wrong_language(text, language, known)]
    if len(wrong) <= WARNING_SHARE * len(sentences):
        return []
    return [
        f"{language}: {len(wrong)} of {len(sentences)} sentences looked at seem to be in another language, such as "
        f"{wrong[0]!r}"
    ]


def _check_swapped(sample: list[Row], pair: str) -> None:
    """Raise an `InputError` if most rows have each side in the language of the other."""
    languages = Pair(pair).languages
    if not all(map(language_id.knows, languages)):
        return
    swapped = [
        all(
            language_id.is_wrong_language(text, language, languages)
            for text, language in zip(row, languages, strict=True)
        )
        for row in sample
    ]
    if sum(swapped) > len(swapped) / 2:
        source, target = languages
        raise InputError(
            f"expected {source} first and {target} second, found them swapped in "
            f"{sum(swapped)} of {len(swapped)} sampled pairs, such as {' / '.join(sample[swapped.index(True)])}; "
            "swap the columns or files, or correct the source's keys (for tsv, `first`)"
        )


def _read_built(folder: Path, split: str, pairs: list[str]) -> Parts:
    parts = {}
    for pair in pairs:
        sides = [read_lines(folder / pair / f"{split}.{language}") for language in Pair(pair).languages]
        parts[pair] = Part("", list(zip(*sides, strict=True)))
    return parts


def _drop_reason(row: Row, max_bytes: int, max_ratio: float) -> str | None:
    # `tidy` has removed lone surrogates, so encoding cannot fail.
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
    # A hash of the text gives a random order that does not depend on input order, process or pair. Adding or removing
    # a sentence does not change the order of the others.
    return blake2b("\0".join((str(seed), *map(key, texts))).encode(), digest_size=16).digest()


def _drop_overlap(parts: Parts, reserved: set[Sentence]) -> Parts:
    return {
        pair: part.keep([row for row in part.rows if reserved.isdisjoint(_keys(pair, row))], "overlap")
        for pair, part in parts.items()
    }


def _resize(parts: Parts, split: str, size: int | None, seed: int) -> Parts:
    section = split if split in SPLITS else f"more_tests.{split}"
    keys = [f"corpus.{name}.size" for name in (SPLITS if split == "train" else (section,))]
    for pair, part in parts.items():
        if len(part.rows) < (size or 1):
            raise InputError(
                f"corpus.{section}.size: expected at least {size or 1} pairs of {pair}, found {len(part.rows)} "
                f"({part.history()}); lower {' or '.join(keys)}, or add text"
            )
    if size is None:
        return parts
    return {pair: part.keep(_sample(part.rows, size, seed), "surplus") for pair, part in parts.items()}


def _sample(rows: list[Row], size: int, seed: int) -> list[Row]:
    # Rank by source sentence first, so that pairs with the same English side keep the same sentences.
    chosen = set(sorted(rows, key=lambda row: (_rank(seed, row[0]), _rank(seed, *row)))[:size])
    return [row for row in rows if row in chosen]


def _shuffle(part: Part, seed: int) -> Part:
    return replace(part, rows=sorted(part.rows, key=lambda row: _rank(seed, *row)))


def _carve(pool: Parts, split: str, size: int, seed: int, largest_group: int) -> tuple[Parts, Parts]:
    drawn = {pair: [] for pair in pool}  # groups are drawn whole, so a pair may have more than `size` rows
    groups = group_rows(pool)
    for smallest in sorted(groups, key=lambda sentence: _rank(seed, *sentence)):
        group = groups[smallest]
        if len(group) > largest_group or all(len(drawn[pair]) >= size for pair, _ in group):
            continue
        for pair, row in group:
            drawn[pair].append(row)
    _check_carved(pool, drawn, split, size, largest_group)
    carved, rest = {}, {}
    for pair, part in pool.items():
        drawn_rows = set(drawn[pair])
        carved[pair] = Part("carved from train", drawn[pair]).keep(drawn[pair][:size], "surplus")
        rest[pair] = replace(part, rows=[row for row in part.rows if row not in drawn_rows])
    return carved, rest


def _check_carved(pool: Parts, drawn: dict[str, list[Row]], split: str, size: int, largest: int) -> None:
    for pair, rows in drawn.items():
        if len(rows) < size:
            in_train = len(pool[pair].rows) - len(rows)
            raise InputError(
                f"corpus.{split}.size: expected at least {size} pairs of {pair} to carve from train, "
                f"found {len(rows)} ({pool[pair].history()}; {in_train} more are in groups of over {largest} pairs "
                "that share sentences, which stay in train); lower corpus.valid.size or corpus.test.size, raise "
                "corpus.largest_group, or add text"
            )


def _count_tokens(lines: list[str]) -> int:
    """Count tokens of any language with sacrebleu's `zh` tokenizer: words, punctuation and Chinese characters."""
    tokenize = BLEU(tokenize="zh").tokenizer
    return sum(len(tokenize(line).split()) for line in lines)


def _write(folder: Path, parts: dict[str, Parts], summary: str) -> None:
    """Write the sentences of every part, and the summary table of row counts."""
    pairs = next(iter(parts.values()))
    rows = [_write_part(folder, pair, split, parts[split][pair]) for pair in pairs for split in parts]
    tsv.write(folder / summary, pd.DataFrame(rows, columns=COLUMNS))


def _write_part(folder: Path, pair: str, split: str, part: Part) -> dict:
    row = {"pair": pair, "split": split, "pairs": len(part.rows)}
    row |= {"origin": tidy(part.origin), "warnings": tidy("; ".join(part.warnings))}  # file names may contain tabs
    row |= {name: part.counts[name] for name in ("read", *DROPS)}
    for number, (side, language) in enumerate(zip(("source", "target"), Pair(pair).languages, strict=True)):
        lines = [sentences[number] for sentences in part.rows]
        path = folder / pair / f"{split}.{language}"
        atomic.write_lines(path, lines)
        row |= {f"{side}_tokens": _count_tokens(lines), f"{side}_sha256": atomic.sha256(path)}
    return row
