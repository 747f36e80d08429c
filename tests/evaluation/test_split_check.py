"""Checks of a split: losses of tokenizers, too long sources, and trainings without enough pairs."""

import pytest
from sacrebleu.metrics import BLEU
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from skipclm.data import examples
from skipclm.data.examples import Prompt
from skipclm.errors import InputError
from skipclm.evaluation import split_check
from skipclm.evaluation.metrics import Translations

REFERENCES = ["Der Hund schläft im Garten .", "eine Katze trinkt die Milch dort", "das ist gut so , sagt er"]


def _tokenizer(words, normalizer=None):
    """Return a tokenizer of words, with </s> and <unk>."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["</s>", "<unk>", *words])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    if normalizer:
        tokenizer.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def _round_trip(tokenizer, references=REFERENCES):
    texts = Translations(references, references, ["x"] * len(references), "en", "de")
    return split_check.round_trip(tokenizer, examples.encode(tokenizer, references), texts, ["bleu", "chrf", "ter"])


WORDS = sorted({word for line in REFERENCES for word in line.split()})


def test_lossless_tokenizer_has_a_ceiling_of_100():
    facts = _round_trip(_tokenizer(WORDS))
    assert (facts["changed"], facts["example"], facts["unknown"]) == (0, None, 0.0)
    assert facts["ceiling"]["bleu"]["value"] == pytest.approx(100)
    assert facts["ceiling"]["ter"]["value"] == 0
    assert split_check.warnings(facts | {"too_long": [], "pairs": 3, "context": None}) == []


@pytest.mark.parametrize(
    ("words", "normalizer", "written", "unknown"),
    [
        ([w.lower() for w in WORDS], normalizers.Lowercase(), [line.lower() for line in REFERENCES], 0),
        (
            [w for w in WORDS if w not in ("Garten", "gut")],
            None,
            ["Der Hund schläft im .", REFERENCES[1], "das ist so , sagt er"],
            100 * 2 / 19,
        ),
        (
            [w.replace("ä", "a") for w in WORDS],
            normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
            [line.replace("ä", "a") for line in REFERENCES],
            0,
        ),
    ],
    ids=["lower case", "unknown words", "accents"],
)
def test_ceiling_is_the_score_of_the_decoded_references(words, normalizer, written, unknown):
    facts = _round_trip(_tokenizer(words, normalizer))
    assert facts["ceiling"]["bleu"]["value"] == pytest.approx(BLEU().corpus_score(written, [REFERENCES]).score)
    assert facts["changed"] == sum(a != b for a, b in zip(written, REFERENCES, strict=True))
    assert facts["example"] == {"line": 1, "reference": REFERENCES[0], "written": written[0]}
    assert facts["unknown"] == pytest.approx(unknown)
    (warning,) = split_check.warnings(facts | {"too_long": [], "pairs": 3, "context": None})
    assert f"{facts['changed']} of 3 references change when they are encoded and decoded" in warning
    assert f"BLEU {facts['ceiling']['bleu']['value']:.1f}" in warning


@pytest.mark.parametrize("rooms", [[7, 7, 9], [7, 4, 5], [3, 0, 9]])
def test_ceiling_is_that_of_references_cut_to_the_length_limit(rooms):
    """The references have 6, 6 and 8 tokens; a translation also has its end token."""
    tokenizer = _tokenizer(WORDS)
    texts = Translations(REFERENCES, REFERENCES, ["x"] * 3, "en", "de")
    facts = split_check.round_trip(tokenizer, examples.encode(tokenizer, REFERENCES), texts, ["bleu"], rooms)
    written = [" ".join(line.split()[:room]) for line, room in zip(REFERENCES, rooms, strict=True)]
    assert facts["ceiling"]["bleu"]["value"] == pytest.approx(BLEU().corpus_score(written, [REFERENCES]).score)
    assert facts["cut"] == [n for n, (room, count) in enumerate(zip(rooms, (6, 6, 8), strict=True), 1) if room <= count]
    warnings = split_check.warnings(facts | {"too_long": [], "pairs": 3, "context": None})
    is_warned = any("references have more tokens than a translation may have" in line for line in warnings)
    assert is_warned == bool(facts["cut"])


def test_sources_changed_by_the_tokenizer_cause_a_warning():
    tokenizer = _tokenizer(WORDS)
    sources = ["Der Hund 睡觉", "eine Katze", "das ist gut"]
    texts = Translations(sources, sources, sources, "de", "en")
    facts = split_check.round_trip(tokenizer, examples.encode(tokenizer, sources), texts, ["chrf"])
    assert (facts["changed"], facts["unknown"]) == (1, pytest.approx(100 / 8))
    (warning,) = split_check.warnings({"too_long": [], "pairs": 3, "source": facts})
    assert warning.startswith("1 of 3 sources change when they are encoded and decoded: the model reads another text")
    assert "line 1 is 'Der Hund 睡觉' and becomes 'Der Hund'" in warning


def test_reference_ends_at_its_first_end_token():
    facts = _round_trip(_tokenizer(["a", "b"]), ["a b </s> a b", "a b"])  # </s> is a word of this vocabulary
    assert facts["example"]["written"] == "a b"


@pytest.mark.parametrize(("context", "numbers"), [(None, []), (9, []), (7, [2]), (5, [2, 3]), (3, [2, 3, 4])])
def test_too_long_sources_are_numbered(context, numbers):
    sources = [[], [5] * 5, [5] * 3, [5]]  # a prompt has two more tokens
    assert split_check.too_long(sources, Prompt((0,), 2, 1), context) == numbers


def test_too_long_sources_cause_a_warning():
    (warning,) = split_check.warnings({"too_long": [4, 6], "pairs": 9, "context": 64})
    assert warning.startswith("2 of 9 sentences are longer than the model reads (64 tokens), such as line 4")


@pytest.fixture
def by_length(examples):
    """300 pairs: 75 each with 4, 6, 8 and 10 tokens."""
    assert sorted(examples.lengths())[::75] == [4, 6, 8, 10]
    return examples


def test_trainings_with_few_usable_pairs_cause_a_warning(by_length):
    training = {"max_tokens": 60, "batch_size": 75, "validations": 1}
    trainings = [training, training | {"max_tokens": 4}]
    usage = split_check.check_trainings("train", by_length, trainings)
    assert [(row["used"], row["of"]) for row in usage] == [(300, 300), (75, 300)]
    (warning,) = split_check.warnings({"too_long": [], "trainings": usage})
    assert warning.startswith("training.max_tokens 4: only 75 of 300 pairs are that short")


@pytest.mark.parametrize(
    ("split", "training", "message"),
    [
        ("train", (4, 76, 1), "at least a batch of 76 pairs within 4 tokens, found 75 of 300"),
        ("valid", (3, 8, 2), "at least 1 pair of valid within 3 tokens, found 0 of 300"),
    ],
)
def test_trainings_without_enough_short_pairs_are_refused(by_length, split, training, message):
    keys = ("max_tokens", "batch_size", "validations")
    with pytest.raises(InputError, match=message):
        split_check.check_trainings(split, by_length, [dict(zip(keys, training, strict=True))])


def test_training_without_validation_may_have_too_long_valid_pairs(by_length):
    training = {"max_tokens": 3, "batch_size": 8, "validations": 0}
    assert split_check.check_trainings("valid", by_length, [training])[0]["used"] == 0
