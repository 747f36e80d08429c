"""Model folders: saving and loading with this package and with transformers."""

import subprocess
import sys

import pytest
import torch
from helpers import CONTRASTIVE, OFF, SKIP, TRAINING, logits_of, trained_skip
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from skipclm.data.examples import Prompt, decode
from skipclm.errors import InputError
from skipclm.evaluation import decoding
from skipclm.models import checkpoints
from skipclm.runtime import provenance
from skipclm.training import fine_tuning

RECORD = {"pair": "en-de", "seed": 1, "settings": {"skip": {"enabled": True}}, "note": "größer"}


@pytest.fixture(params=["plain", "skip"])
def model(request, new_decoder):
    """A decoder without a skip, and one with a skip that has random weights."""
    decoder = new_decoder()
    if request.param == "plain":
        return decoder
    return trained_skip(decoder)


def test_saved_model_is_loaded_unchanged(tmp_path, model, tokenizer, ids):
    checkpoints.save(model, tokenizer, tmp_path, RECORD)
    loaded, loaded_tokenizer = checkpoints.load(tmp_path)
    assert torch.equal(logits_of(loaded.cpu(), ids), logits_of(model, ids))
    assert not loaded.training
    assert loaded_tokenizer("vier Übel")["input_ids"] == tokenizer("vier Übel")["input_ids"]
    assert checkpoints.read_record(tmp_path) == RECORD


def test_folder_is_a_plain_transformers_folder(tmp_path, model, tokenizer, ids):
    checkpoints.save(model, tokenizer, tmp_path, RECORD)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits_of(loaded, ids), logits_of(model, ids))
    prompt = AutoTokenizer.from_pretrained(tmp_path)("one two", return_tensors="pt")
    generated = loaded.generate(**prompt, max_new_tokens=4)
    assert torch.equal(generated, model.generate(**prompt, max_new_tokens=4))


def test_saving_twice_gives_the_same_files(tmp_path, model, tokenizer):
    for name in ("a", "b"):
        checkpoints.save(model, tokenizer, tmp_path / name, RECORD)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_folder_from_elsewhere_has_no_record(tmp_path, new_decoder):
    new_decoder().save_pretrained(tmp_path)
    assert checkpoints.read_record(tmp_path) == {}


def test_model_without_tokenizer_is_refused(tmp_path, new_decoder):
    new_decoder().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a tokenizer beside the model"):
        checkpoints.load(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="missing: expected a Hugging Face decoder"):
        checkpoints.load(tmp_path / "missing")


def test_record_must_be_an_object(tmp_path):
    (tmp_path / provenance.RECORD).write_text("[1]")
    with pytest.raises(InputError, match=r"skipclm\.json: expected a JSON object"):
        checkpoints.read_record(tmp_path)


# Other tools


@pytest.fixture
def trained(tmp_path, new_decoder, tokenizer, prompt, examples):
    """The folder of a decoder with a skip that has learned the toy pair."""
    settings = {"contrastive": CONTRASTIVE, "skip": SKIP, "lora": OFF}
    settings["training"] = TRAINING | {"steps": 300, "learning_rate": 1e-2}
    outcome = fine_tuning.train(new_decoder(spread=0.1), prompt, settings, examples, examples, 1, tmp_path / "trainer")
    checkpoints.save(outcome.model.cpu(), tokenizer, tmp_path / "model", RECORD)
    return tmp_path / "model"


def test_pipeline_of_transformers_translates(trained, pairs, examples):
    """The other process only imports this package."""
    code = f"""
import skipclm
from transformers import pipeline
generator = pipeline("text-generation", {str(trained)!r})
for text in {pairs[0][:5]}:
    written = generator(text + "</s>", max_new_tokens=12, do_sample=False, return_full_text=False)
    print(written[0]["generated_text"].strip())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = decoding.translate(*checkpoints.load(trained), examples.source[:5], progress=False).texts
    assert done.stdout.splitlines() == expected
    assert set(expected) & set(pairs[1][:5])


def test_log_likelihoods_prefer_the_translation(trained, pairs):
    """Evaluation harnesses score a choice by the log-probability of a continuation after a context."""
    tokenizer = AutoTokenizer.from_pretrained(trained)
    model = AutoModelForCausalLM.from_pretrained(trained)

    def log_likelihood(context, continuation):
        given = [*tokenizer(context).input_ids, tokenizer.eos_token_id]
        predicted = [*tokenizer(continuation, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        row, start = torch.tensor([given + predicted]), len(given)
        with torch.no_grad():
            chances = model(input_ids=row).logits[0, start - 1 : -1].log_softmax(-1)
        return chances.gather(1, row[0, start:, None]).sum().item()

    # sentences of equal length, because a short continuation is more likely than a long one
    choices = [i for i, sentence in enumerate(pairs[0]) if len(sentence.split()) == 4][:10]
    right = [
        max(choices, key=lambda j: log_likelihood(source, pairs[1][j])) == i
        for i, source in ((i, pairs[0][i]) for i in choices)
    ]
    assert sum(right) >= 8  # one would be right by chance


# Generation


@pytest.mark.parametrize("has_skip", [False, True])
@pytest.mark.parametrize(
    "habits",
    [
        {"do_sample": True, "temperature": 0.6, "top_k": 50},
        {"repetition_penalty": 3.0, "suppress_tokens": [5, 6, 7]},
        {"forced_bos_token_id": 9, "num_beams": 3},
        {"eos_token_id": [2, 11], "no_repeat_ngram_size": 1},
    ],
)
def test_generate_of_a_saved_model_gives_its_translations(new_decoder, tokenizer, examples, tmp_path, habits, has_skip):
    decoder = new_decoder("llama")
    decoder.generation_config = GenerationConfig(**habits)
    model = trained_skip(decoder) if has_skip else decoder
    checkpoints.save(model, tokenizer, tmp_path, {})
    loaded, _ = checkpoints.load(tmp_path)
    prompt = Prompt.of(tokenizer)
    for ids in examples.source[:5]:
        text = decoding.translate(loaded, tokenizer, [ids], length_ratio=0, length_extra=6).texts[0]
        row = torch.tensor([prompt.source(ids)])
        written = [loaded.generate(row, attention_mask=torch.ones_like(row), max_new_tokens=6) for _ in range(3)]
        assert {decode(tokenizer, [ids[row.shape[1] :].tolist() for ids in output])[0] for output in written} == {text}
