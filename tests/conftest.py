"""Shared fixtures: seed, one thread, toy pair with tokenizer, tiny decoders, figures, finished workflow."""

import random
import shutil
import signal
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import workflows
from filelock import FileLock
from transformers import AutoConfig, AutoModelForCausalLM

from skipclm.data import bpe as tokenizers
from skipclm.data.examples import Examples, Prompt
from skipclm.demo import generator
from skipclm.models import checkpoints

ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]


# A shell starts background processes with SIGINT ignored. The jobs that tests interrupt must not inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = [
    *("test_reruns.py", "test_workflow.py", "test_failures.py", "test_training_job.py", "test_plan.py"),
    *("test_fine_tuning.py", "test_any_decoder.py", "test_cli.py", "test_modeling.py"),
]


def pytest_collection_modifyitems(items):
    """Run the slowest files first, so that the workers finish at about the same time."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def seed():
    """Seed all generators and use one thread, because several workers share the cores."""
    torch.set_num_threads(1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


@pytest.fixture(scope="session")
def pairs():
    """The toy pair: 300 numbers of two to five digits, spelled digit by digit; English lines and German lines."""
    chance = random.Random(1)
    numbers = [f"{n:0{digits}d}" for digits in (2, 3, 4, 5) for n in chance.sample(range(10**digits), 75)]
    chance.shuffle(numbers)
    return [[" ".join(words[int(digit)] for digit in n) for n in numbers] for words in (ENGLISH, GERMAN)]


@pytest.fixture(scope="session")
def tokenizer(pairs):
    """A tokenizer in the style of XGLM's, with a token for every word of the toy pair."""
    return tokenizers.train(pairs[0] + pairs[1], 400, 64)


@pytest.fixture(scope="session")
def prompt(tokenizer):
    return Prompt.of(tokenizer)


@pytest.fixture(scope="session")
def examples(tokenizer, pairs):
    """The toy pair, encoded."""
    return Examples.encoded(tokenizer, *pairs)


# Sizes by the names that most architectures use. ARCHITECTURES has other names and further settings.
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
NO_DROPOUT = dict.fromkeys(("dropout", "embd_pdrop", "attn_pdrop", "resid_pdrop", "attention_dropout"), 0.0)
ARCHITECTURES = {
    "xglm": {"ffn_dim": 64},
    "gpt2": {},
    "bloom": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "llama": {"num_key_value_heads": 1, "head_dim": 16},
    "mistral": {"num_key_value_heads": 1, "head_dim": 16},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 16, "final_logit_softcapping": 2.0},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 16},
    "cohere": {"num_key_value_heads": 1, "logit_scale": 0.3},
}
# What differs between these: positions, attention, order of norms, head. `make sweep` tests all architectures.
KINDS = ("xglm", "gpt2", "bloom", "llama", "gemma2", "cohere")
UNTIED = ("bloom", "llama")  # the kinds whose heads have their own weights in the tests


@pytest.fixture(scope="session")
def new_decoder(tokenizer):
    """A function that makes a random decoder of 4 blocks and width 32; its weights depend only on the seed.

    With the usual spread of 0.02, the output of so small a model hardly depends on its input; with 0.2 it does.
    """

    def build(architecture="xglm", spread=0.2, tied=True, seed=1):
        torch.manual_seed(seed)
        spreads = {"initializer_range": spread, "init_std": spread}
        options = SIZES | NO_DROPOUT | spreads | {"vocab_size": len(tokenizer), "tie_word_embeddings": tied}
        config = AutoConfig.for_model(architecture, **options | ARCHITECTURES[architecture])
        return AutoModelForCausalLM.from_config(config).eval()

    return build


@pytest.fixture(params=KINDS)
def decoder(request, new_decoder):
    """One decoder of each kind."""
    return new_decoder(request.param, tied=request.param not in UNTIED)


@pytest.fixture
def save_base(tokenizer, tmp_path):
    """A function that saves a decoder as the base model of an experiment."""

    def save(decoder):
        checkpoints.save(decoder, tokenizer, tmp_path / "base", {"model": "random"})
        return tmp_path / "base"

    return save


@pytest.fixture
def ids(tokenizer):
    """Three rows of eleven random tokens, without special tokens."""
    return torch.randint(4, len(tokenizer), (3, 11))


@pytest.fixture(scope="session")
def words():
    """The words of the built-in corpus by name."""
    frames = generator.load_frames()
    return {word.name: word for frame in frames for group in frame.slots.values() for word in group}


@pytest.fixture(scope="session")
def pieces(tmp_path_factory):
    """A small sentencepiece model of German."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("pieces")
    text = folder / "text"
    text.write_text("\n".join(row["de"] for row in generator.generate(200, 1)), encoding="utf-8")
    options = {"model_prefix": str(folder / "pieces"), "vocab_size": 120, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=str(text), **options)
    return folder / "pieces.model"


@pytest.fixture
def texts_in():
    """A function that checks both files of a figure and returns the texts in the .svg."""

    def read(stem):
        assert stem.with_name(f"{stem.name}.png").read_bytes().startswith(b"\x89PNG")
        root = ElementTree.parse(stem.with_name(f"{stem.name}.svg")).getroot()
        return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]

    return read


@pytest.fixture
def repeats(tmp_path):
    """A function that draws a figure twice and returns whether both times the files are the same."""

    def draw_twice(draw):
        for time in ("first", "second"):
            draw(tmp_path / time / "figure")
        files = [[path.read_bytes() for path in sorted((tmp_path / time).iterdir())] for time in ("first", "second")]
        assert len(files[0]) == 2
        return files[0] == files[1]

    return draw_twice


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """A folder in which the workflow has run once; all test workers share it."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder, unfinished = shared / "finished", shared / "unfinished"
    with FileLock(shared / "finished.lock"):
        if not folder.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            workflows.snakemake(workflows.make_copy(unfinished))
            unfinished.rename(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of `finished` that a test may change; modification times are preserved."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"
