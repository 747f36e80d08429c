"""Scores against the command line of sacrebleu and values worked out by hand; the registry of metrics."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from skipclm.demo import generator
from skipclm.errors import InputError
from skipclm.evaluation import metrics
from skipclm.evaluation.metrics import METRICS, Translations

LATIN = (
    ["The cat sat on the mat, quietly.", "We'll see you at 10.30 tomorrow!", "Nothing here matches"],
    ["The cat sat quietly on the mat.", "We'll see you tomorrow at 10.30!", "A wholly other sentence"],
)
CHINESE = (["我今天去学校。", "猫坐在垫子上,很安静。"], ["我今天要去学校。", "猫安静地坐在垫子上。"])


def _texts(hypotheses, references, tokenizer="13a", language="de", **more):
    sources = more.pop("sources", ["x"] * len(hypotheses))
    return Translations(hypotheses, references, sources, "en", language, tokenizer, **more)


def _value(name, *texts, **more):
    return metrics.measure(_texts(*texts, **more), [name])[0][name]["value"]


# The command line of sacrebleu

OPTIONS = {
    "bleu": [],
    "chrf": ["--chrf-word-order", "0"],
    "chrfpp": ["--chrf-word-order", "2"],
    "chrf1": ["--chrf-beta", "1"],
    "ter": [],
}
OF_CHINESE = {"bleu": ["--tokenize", "zh"], "ter": ["--ter-normalized", "--ter-asian-support"]}


def _command_line(folder, hypotheses, references, name, tokenizer):
    for file, lines in (("hyp", hypotheses), ("ref", references)):
        (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    kind = {"chrfpp": "chrf", "chrf1": "chrf"}.get(name, name)
    options = OPTIONS[name] + (OF_CHINESE.get(name, []) if tokenizer == "zh" else [])
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-m", kind, "-w", "12", *options]
    return json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)


def _worse(lines, language):
    """Return text without every fifth token and with some changes of order."""
    worse = []
    for number, line in enumerate(lines):
        tokens = list(line) if language == "zh" else line.split()
        remaining = [token for position, token in enumerate(tokens) if (number + position) % 5]
        if number % 3 == 0:
            remaining = remaining[2:] + remaining[:2]
        worse.append(("" if language == "zh" else " ").join(remaining))
    return ["", *worse[1:]]


@pytest.mark.parametrize("language", ["de", "tr", "zh", "en"])
@pytest.mark.parametrize("name", OPTIONS)
def test_scores_and_signatures_equal_those_of_sacrebleu(tmp_path, name, language):
    references = [row[language] for row in generator.generate(40, 7)]
    texts = _texts(_worse(references, language), references, "zh" if language == "zh" else "13a", language)
    score = metrics.measure(texts, [name])[0][name]
    expected = _command_line(tmp_path, texts.hypotheses, references, name, texts.bleu_tokenizer)
    assert round(score["value"], 12) == expected["score"]
    assert score["signature"] == expected["signature"]
    assert 10 < score["value"] < 90


@pytest.mark.parametrize("texts", [LATIN, (["", ""], ["eins", "zwei"]), (["x"], ["y z"])])
@pytest.mark.parametrize("name", OPTIONS)
def test_scores_of_unusual_texts_equal_those_of_sacrebleu(tmp_path, name, texts):
    assert round(_value(name, *texts), 12) == _command_line(tmp_path, *texts, name, "13a")["score"]


def test_bleu_worked_out_by_hand():
    # matching 1- to 4-grams: 5 of 5, 4 of 4, 3 of 3, 2 of 2; five words against six: exp(1 - 6/5)
    assert _value("bleu", ["a b c d e"], ["a b c d e f"]) == pytest.approx(100 * math.exp(1 - 6 / 5))
    # matching: 5 of 6, 3 of 5, 2 of 4, 1 of 3; equal lengths
    bleu = _value("bleu", ["a b c d x f"], ["a b c d e f"])
    assert bleu == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_chinese_needs_its_tokenizer():
    assert _value("bleu", *CHINESE, "zh") > 5 * _value("bleu", *CHINESE, "13a")
    assert _value("ter", *CHINESE, "zh") < 60
    assert _value("ter", *CHINESE, "13a") == 100  # each sentence counts as one wrong word


# Other metrics


def test_rouge_is_a_mean_over_segments():
    # first segment: precision 1/2 and recall 1/4; second segment: 1
    rouge = _value("rouge1", ["rot grün", "blau"], ["rot und sehr blau", "blau"])
    assert rouge == pytest.approx(100 * (1 / 3 + 1) / 2)


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougel", "bleu", "chrf1"])
def test_chinese_against_itself_is_100(name):
    assert _value(name, CHINESE[1], CHINESE[1], "zh", "zh") == pytest.approx(100)


def test_rates_are_shares_of_segments():
    hypotheses = ["Meine Mutter schläft heute.", "", "my mother sleeps", "sehr " * 9]
    more = {"sources": ["My mother sleeps"] * 4, "cut": [False, False, False, True], "languages": ("de", "en")}
    scores, _ = metrics.measure(_texts(hypotheses, ["Meine Mutter schläft."] * 4, **more), metrics.RATES)
    values = {name: score["value"] for name, score in scores.items()}
    assert values.pop("length_ratio") == pytest.approx(100 * (5 + 0 + 3 + 9) / 16)
    assert values == {"empty": 25, "copied": 25, "wrong_language": 25, "looping": 25, "cut": 25}


def test_segment_scores_of_a_neural_metric_are_used():
    neural = {"comet": {"segments": [0.5, 0.9], "signature": "model:x"}}
    score = metrics.measure(_texts(["a", "b"], ["a", "b"], neural=neural), ["comet"])[0]["comet"]
    assert (score["value"], score["signature"]) == (pytest.approx(70), "model:x")
    with pytest.raises(InputError, match="a score for each of 1 translations, found 2"):
        metrics.measure(_texts(["a"], ["a"], neural=neural), ["comet"])


def test_neural_metric_without_finite_scores_did_not_run():
    neural = {"comet": {"segments": [float("nan")], "signature": "model:x"}}
    assert "gave no number" in metrics.measure(_texts(["a"], ["a"], neural=neural), ["comet"])[0]["comet"]["not_run"]


@pytest.mark.parametrize("wrong", [{"sources": ["x"]}, {"cut": [True]}])
def test_each_translation_needs_a_source_and_a_cut_mark(wrong):
    with pytest.raises(InputError, match=f"expected 2 {next(iter(wrong))}, one per translation, found 1"):
        metrics.measure(_texts(["a", "b"], ["a", "b"], **wrong), ["cut"])


def test_languages_unknown_to_the_identifier_are_ignored():
    texts = _texts(["Meine Mutter kauft ein blaues Bett."], ["a"], languages=["en", "de", "qq"])
    score = metrics.measure(texts, ["wrong_language"])[0]["wrong_language"]
    assert score["value"] == 0
    assert "among:de-en|" in score["signature"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("spbleu", "spbleu_model names no file"),
        ("comet", "was not asked for"),
        ("wrong_language", "does not know the language"),
        ("cut", "do not say which"),
    ],
)
def test_metric_that_cannot_run_has_a_reason_and_others_run(name, reason):
    scores, contributions = metrics.measure(_texts(["some text"], ["a"], language="qq"), [name, "chrf"])
    assert (scores[name]["value"], scores[name]["signature"]) == (None, None)
    assert reason in scores[name]["not_run"]
    assert list(contributions) == ["chrf"]


def test_spbleu_uses_the_staged_file(pieces):
    sentencepiece = pytest.importorskip("sentencepiece")
    texts = replace(_texts(*LATIN), spbleu_model=str(pieces))
    score = metrics.measure(texts, ["spbleu"])[0]["spbleu"]
    pieces = sentencepiece.SentencePieceProcessor(model_file=texts.spbleu_model)
    split = [[" ".join(pieces.encode(line, out_type=str)) for line in side] for side in LATIN]
    assert score["value"] == pytest.approx(
        metrics.BLEU(tokenize="none", force=True).corpus_score(split[0], [split[1]]).score
    )
    assert "tok:flores200-" in score["signature"]


# The registry


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("spbleu", "comet", "xcomet")])
def test_score_is_that_of_the_sum_of_contributions(name):
    rows = generator.generate(30, 3)
    texts = _texts(
        _worse([row["de"] for row in rows], "de"), [row["de"] for row in rows], cut=[i % 4 == 0 for i in range(30)]
    )
    scores, contributions = metrics.measure(texts, [name])
    assert len(contributions[name]) == 30
    assert metrics.total(name, contributions[name]) == scores[name]["value"]
    halves = [
        replace(
            texts, **{field: getattr(texts, field)[part] for field in ("hypotheses", "references", "sources", "cut")}
        )
        for part in (slice(15), slice(15, 30))
    ]
    parts = [metrics.measure(half, [name])[1][name] for half in halves]
    assert np.array_equal(np.concatenate(parts), contributions[name])  # independent of the other segments
    two = METRICS[name].total(np.stack([part.sum(axis=0) for part in parts]))
    assert two.tolist() == [metrics.total(name, part) for part in parts]


def test_only_requested_metrics_in_their_order():
    assert list(metrics.measure(_texts(*LATIN), ["chrf", "bleu"])[0]) == ["chrf", "bleu"]


def test_directions():
    assert [METRICS[name].sign() for name in ("bleu", "ter", "length_ratio", "empty")] == [1, -1, 0, -1]


@pytest.mark.parametrize(
    ("texts", "names", "message"),
    [
        ((["a"], ["a", "b"]), ["bleu"], "1 translations and 2 references"),
        (([], []), ["bleu"], "found none"),
        ((["a"], ["a"]), ["blue"], "among bleu, .*, found 'blue'; write 'bleu' if that is meant"),
        ((["a"], ["a"], "zhh"), ["bleu"], "BLEU tokenizer among .*found 'zhh'; write 'zh' if"),
        ((["a"], ["a"]), [], "at least one metric"),
        ((["a"], ["a"]), ["bleu", "bleu"], "each metric once"),
    ],
)
def test_bad_input_is_explained(texts, names, message):
    with pytest.raises(InputError, match=message):
        metrics.measure(_texts(*texts), names)


def test_tokenizers_that_need_a_package_are_refused_without_it(monkeypatch):
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="found 'flores200'; install sentencepiece"):
        metrics.check_bleu_tokenizer("flores200")
    metrics.check_bleu_tokenizer("zh")


def test_labels():
    assert [metrics.label(name) for name in ("bleu", "chrf1", "other")] == ["BLEU", "chrF1", "other"]


SPM_FILES = {
    "spm": "sacrebleu_tokenizer_spm.model",
    "flores101": "sacrebleu_tokenizer_spm.model",
    "flores200": "flores200sacrebleuspm",
    "spBLEU-1K": "spbleu-1k_tokenizer_spm.model",
}


@pytest.mark.parametrize("name", SPM_FILES)
def test_tokenizer_that_needs_a_download_is_refused_without_its_file(tmp_path, monkeypatch, pieces, name):
    pytest.importorskip("sentencepiece")
    monkeypatch.setattr(metrics, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_: pytest.fail("looked for a network"))
    path = tmp_path / "models" / SPM_FILES[name]
    with pytest.raises(InputError, match=f"found no file {path}; download http.* environment variable SACREBLEU"):
        metrics.check_bleu_tokenizer(name)
    path.parent.mkdir()
    path.touch()  # an incomplete download
    with pytest.raises(InputError, match="found no file"):
        metrics.check_bleu_tokenizer(name)
    path.write_text("<html>", encoding="utf-8")
    with pytest.raises(InputError, match="expected a BLEU tokenizer that runs"):
        metrics.check_bleu_tokenizer(name)
    path.write_bytes(pieces.read_bytes())
    metrics.check_bleu_tokenizer(name)
    assert _value("bleu", ["eins zwei drei vier"], ["eins zwei drei vier"], name) == pytest.approx(100)


def test_file_that_is_not_a_sentencepiece_model_is_refused(tmp_path, pieces):
    (tmp_path / "page.model").write_text("<html>", encoding="utf-8")
    for name in ("page.model", "gone.model"):
        with pytest.raises(InputError, match=f"expected a sentencepiece model, found that .*{name} does not load"):
            metrics.check_spbleu_model(tmp_path / name)
    metrics.check_spbleu_model(pieces)
