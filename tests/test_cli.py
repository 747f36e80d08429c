"""The command line. Run with: pytest tests/test_cli.py."""

import os
import socket
import subprocess
import sys
import time
from importlib import metadata

import pytest
import torch
from transformers import XGLMForCausalLM

from skipclm import cli
from skipclm.data import bpe as tokenizers
from skipclm.data import examples
from skipclm.evaluation import decoding
from skipclm.models import checkpoints
from skipclm.runtime import provenance
from skipclm.training import base_model

LINES = ["one two three", "seven eight", "nine"]


@pytest.fixture(scope="module")
def model(tmp_path_factory, pairs):
    """The folder of a tiny random decoder with a record that it was trained for en-de."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("model")
    encoder = tokenizers.train(pairs[0] + pairs[1], 400, 64)
    decoder = XGLMForCausalLM(base_model.architecture({"width": 16, "layers": 2, "heads": 2}, len(encoder)))
    checkpoints.save(decoder, encoder, folder, {"pair": "en-de"})
    return folder


@pytest.fixture(scope="module")
def expected(model):
    """The translations of `LINES` by the library."""
    decoder, encoder = checkpoints.load(model)
    translations = decoding.translate(decoder, encoder, examples.encode(encoder, LINES)).texts
    assert len(set(translations)) == len(LINES)  # otherwise the tests would not notice a wrong order
    return translations


@pytest.fixture
def text(tmp_path):
    """A function that writes lines to a file, as text or as bytes, and returns its path."""

    def write(content, name="input.txt"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


@pytest.fixture
def skipclm(monkeypatch, capfd):
    """A function that runs the command line in this process and returns its status, output and messages."""

    monkeypatch.setenv("COLUMNS", "200")  # so that messages are not wrapped

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["skipclm", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capfd.readouterr()

    return run


def start(code, **options):
    """Run the command line in its own process, with ASCII as the encoding of the terminal."""
    command = [sys.executable, "-c", f"import sys\nfrom skipclm import cli\n{code}"]
    environment = {"PYTHONUNBUFFERED": "", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    options |= {"env": os.environ | environment, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.run(command, check=False, **options)


# Help


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["translate", "demo-corpus", "random-model", "snakemake"]),
        (["translate", "--help"], ["--model", "--pair", "--beams", "--batch-tokens", "standard input", "1 is greedy"]),
        (["demo-corpus", "--help"], ["--output", "--count", "--seed", "8000"]),
        (["random-model", "--help"], ["--layers", "--width", "--vocabulary", "llama"]),
    ],
)
def test_help_lists_commands_and_options(skipclm, arguments, words):
    status, output, _ = skipclm(*arguments)
    assert status == 0
    assert [word for word in words if word not in output] == []


@pytest.mark.parametrize("arguments", ["--help", "translate --help", "demo-corpus --help"])
def test_help_does_not_import_torch(arguments):
    code = (
        f"sys.argv = ['skipclm', *'{arguments}'.split()]\n"
        "try:\n    cli.main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = start(code, stdout=subprocess.DEVNULL)
    assert done.returncode == 0
    assert {"typer", "torch", "transformers", "pandas", "sacrebleu"} & set(done.stderr.split()) == {"typer"}


def test_version(skipclm):
    status, output, _ = skipclm("--version")
    assert (status, output) == (0, f"skipclm {metadata.version('skipclm')}\n")


def test_without_a_command_the_help_is_shown(skipclm):
    status, output, messages = skipclm()
    assert status == 2
    assert "demo-corpus" in output + messages


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["translate", "--beam", "2"], ["No such option", "--beam", "--beams"]),
        (["translate", "--model", "m"], ["Missing option", "--pair"]),
        (["translate", "--model", "m", "--pair", "en-de", "--beams", "0"], ["Invalid value", "--beams"]),
        (
            ["translate", "--model", "m", "--pair", "en-de", "--batch-tokens", "few"],
            ["Invalid value", "--batch-tokens"],
        ),
        (["translte"], ["No such command", "translte"]),
        (["demo-corpus", "--output", "x", "--count", "0"], ["Invalid value", "--count"]),
    ],
)
def test_wrong_option_is_named(skipclm, arguments, words):
    status, output, messages = skipclm(*arguments)
    assert (status, output) == (2, "")
    assert [word for word in words if word not in messages] == []


# Translating


def test_each_line_gives_one_line_and_blank_lines_stay_blank(skipclm, model, expected, text):
    one, two, three = LINES
    path = text(f"{one}\n\u200b\u00ad\n \t\n{two}\r\n\ufeff\n{three}")
    status, output, _ = skipclm("translate", "--model", model, "--pair", "en-de", path)
    assert status == 0
    lines = output.split("\n")
    assert [lines[0], lines[3], lines[5]] == expected
    assert [lines[1], lines[2], lines[6:]] == ["", "", [""]]


def test_files_are_translated_in_order(skipclm, model, expected, text):
    paths = [text(LINES[2], "2.txt"), text(f"{LINES[0]}\n{LINES[1]}\n", "01.txt")]
    options = ["--model", model, "--pair", "en-de", "--batch-tokens", "1"]
    status, output, _ = skipclm("translate", *options, *paths)
    assert status == 0
    assert output.splitlines() == [expected[2], expected[0], expected[1]]


@pytest.mark.parametrize("content", ["", "\n", "\n \n"])
def test_blank_input_gives_blank_output(skipclm, model, text, content):
    status, output, _ = skipclm("translate", "--model", model, "--pair", "en-de", text(content))
    assert (status, output) == (0, "\n" * content.count("\n"))


def test_standard_input_is_utf8_in_an_ascii_terminal(model, expected):
    code = f"sys.argv = ['skipclm', 'translate', '--model', {str(model)!r}, '--pair', 'en-de']\ncli.main()"
    done = start(code, input="\n".join(["", *LINES]), stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["", *expected, ""]


def test_hyphen_is_standard_input(model, expected, text):
    path = text(f"{LINES[1]}\n")
    arguments = ["translate", "--model", str(model), "--pair", "en-de", str(path), "-", str(path)]
    done = start(f"sys.argv = ['skipclm', *{arguments}]\ncli.main()", input=LINES[0], stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [expected[1], expected[0], expected[1]]


@pytest.mark.parametrize("is_blocking", [True, False])
def test_standard_input_may_be_a_slow_socket(model, expected, is_blocking):
    ours, theirs = socket.socketpair()
    theirs.setblocking(is_blocking)
    arguments = ["translate", "--model", str(model), "--pair", "en-de"]
    command = [sys.executable, "-c", f"import sys\nfrom skipclm import cli\nsys.argv[1:] = {arguments}\ncli.main()"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, encoding="utf-8") as process, ours:
        for line in LINES:
            ours.sendall(f"{line}\n".encode())
            time.sleep(0.1)
        ours.shutdown(socket.SHUT_WR)
        output, _ = process.communicate()
    theirs.close()
    assert process.returncode == 0
    assert output.splitlines() == expected


def test_too_long_lines_are_named_and_the_others_translated(skipclm, model, expected, text):
    long = "zero " * 600
    paths = [text(f"{LINES[0]}\n\n{long}\n{LINES[1]}\n", "1.txt"), text(f"{long}\n{LINES[2]}\n", "2.txt")]
    status, output, messages = skipclm("translate", "--model", model, "--pair", "en-de", *paths)
    assert status == 1
    assert output.split("\n") == [expected[0], "", "", expected[1], "", expected[2], ""]
    first, second = messages.splitlines()
    assert first.startswith(f"{paths[0]}, line 3: not translated: expected a sentence that leaves room for its ")
    assert second.startswith(f"{paths[1]}, line 1: not translated: ")
    assert "max_bytes" not in messages  # a configuration key, not an option of this command


def test_more_beams_than_tokens_are_refused(skipclm, model, text):
    message = refusal(skipclm, "--model", model, "--pair", "en-de", "--beams", "999", text("a"))
    assert message.startswith("error: --beams: expected at most ")
    assert "found 999; lower it\n" in message


@pytest.mark.parametrize("ratio", ["nan", "inf", "-1", "1e308"])
def test_invalid_length_ratio_is_refused(skipclm, model, ratio):
    status, output, messages = skipclm("translate", "--model", model, "--pair", "en-de", "--length-ratio", ratio)
    assert (status, output) == (2, "")
    assert "--length-ratio" in messages


def test_closed_standard_input_is_refused(model):
    message = "error: standard input: expected text, found it closed; name a file, or redirect one\n"
    assert under("<&-", "translate", "--model", model, "--pair", "en-de") == (1, "", message)


# Errors that a user can correct


def refusal(skipclm, *arguments):
    status, output, messages = skipclm("translate", *arguments)
    assert (status, output) == (1, "")
    return messages


def test_model_of_another_pair_is_refused(skipclm, model, text):
    assert refusal(skipclm, "--model", model, "--pair", "en-tr", text("a")) == (
        f"error: --pair: expected en-de, for which {model} was trained, found en-tr; correct it or take another model\n"
    )


@pytest.mark.parametrize("name", ["gone", "file"])
def test_model_must_be_a_folder(skipclm, tmp_path, text, name):
    (tmp_path / "file").touch()
    assert refusal(skipclm, "--model", tmp_path / name, "--pair", "en-de", text("a")) == (
        f"error: --model: expected a model folder, found {tmp_path / name}, which is none; correct the path\n"
    )


def test_model_must_be_trained_to_translate(skipclm, tmp_path, text):
    message = refusal(skipclm, "--model", tmp_path, "--pair", "en-de", text("a"))
    assert message.startswith(
        f"error: --model: expected a model that the workflow trained to translate, found {tmp_path}, which has no "
    )
    assert message.count("\n") == 1


def test_model_without_weights_is_refused(skipclm, tmp_path, text):
    (tmp_path / provenance.RECORD).write_text('{"pair": "en-de"}')
    message = refusal(skipclm, "--model", tmp_path, "--pair", "en-de", text("a"))
    assert message.startswith(f"error: {tmp_path}: expected a Hugging Face decoder, but it cannot be loaded: ")


def test_diverged_model_is_refused(skipclm, tmp_path, text):
    (tmp_path / provenance.RECORD).write_text('{"pair": "en-de", "status": "diverged"}')
    message = refusal(skipclm, "--model", tmp_path, "--pair", "en-de", text("a"))
    assert message.startswith(f"error: --model: expected a model that learned to translate, found {tmp_path}, whose ")


def test_broken_record_is_refused(skipclm, tmp_path, text):
    (tmp_path / provenance.RECORD).write_text("{")
    message = refusal(skipclm, "--model", tmp_path, "--pair", "en-de", text("a"))
    assert message.startswith(f"error: {tmp_path / provenance.RECORD}: expected JSON, found ")


def test_missing_file_is_named(skipclm, model, tmp_path):
    path = tmp_path / "gone.txt"
    message = refusal(skipclm, "--model", model, "--pair", "en-de", path)
    assert message == f"error: {path} cannot be read: No such file or directory\n"


def test_invalid_utf8_error_names_file_and_line(skipclm, model, text):
    path = text(b"fine\n\nsch\xf6n\n", "latin1.txt")
    message = refusal(skipclm, "--model", model, "--pair", "en-de", text("a"), path)
    assert message.startswith(f"error: {path}, line 3: expected UTF-8, found the byte 0xf6; ")
    assert message.count("\n") == 1


# The built-in corpus


def test_the_built_in_corpus_is_written_in_four_languages(skipclm, tmp_path):
    status, output, _ = skipclm("demo-corpus", "--output", tmp_path / "new", "--count", "20")
    paths = [tmp_path / "new" / f"demo.{language}" for language in ("en", "de", "tr", "zh")]
    assert (status, output) == (0, "".join(f"{path}\n" for path in paths))
    assert [len(path.read_text(encoding="utf-8").splitlines()) for path in paths] == [20] * 4


def test_seed_determines_the_sentences(skipclm, tmp_path):
    texts = []
    for number, seed in enumerate([1, 1, 2]):
        skipclm("demo-corpus", "--output", tmp_path / str(number), "--count", "20", "--seed", seed)
        texts.append((tmp_path / str(number) / "demo.en").read_text(encoding="utf-8"))
    assert texts[0] == texts[1] != texts[2]


def test_output_below_a_file_is_refused(skipclm, tmp_path, text):
    folder = text("") / "new"
    assert skipclm("demo-corpus", "--output", folder) == (
        1,
        "",
        f"error: {folder}: expected a folder, or a path for a new one, but {folder.parent} is not a folder; "
        "move it away\n",
    )


def test_folder_with_the_name_of_an_output_file_is_refused(skipclm, tmp_path):
    (tmp_path / "demo.de").mkdir()
    assert skipclm("demo-corpus", "--output", tmp_path, "--count", "2") == (
        1,
        "",
        f"error: {tmp_path / 'demo.de'}: Is a directory\n",
    )


# Unwritable outputs


def under(redirection, *arguments):
    """Run the command line with a redirection of the shell; return its status, output and messages."""
    code = "import sys\nfrom skipclm import cli\nsys.argv[0] = 'skipclm'\ncli.main()"
    command = ["bash", "-c", f'set -o pipefail; "$0" -c "$@" {redirection}', sys.executable, code, *map(str, arguments)]
    environment = {"PYTHONUNBUFFERED": "", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout, done.stderr


FULL = "error: standard output: expected an output that can be written, found: No space left on device; redirect it "
CLOSED = "error: standard output: expected a place to print to, found it closed; redirect it to a file\n"


REDIRECTIONS = [
    (">/dev/full", 1, f"{FULL}elsewhere\n"),
    (">&-", 1, CLOSED),
    (">&- 2>&-", 1, ""),
    (">/dev/full 2>&1", 1, ""),
    (">/dev/full 2>&-", 1, ""),
    ("2>&- >/dev/null", 0, ""),
    ("2>/dev/full >/dev/null", 0, ""),
    ("> >(exec <&-; sleep 20)", 141, ""),  # the reader has closed the pipe
]


@pytest.mark.parametrize(
    ("arguments", "redirection", "status", "messages"),
    [
        *(("--version", *case) for case in REDIRECTIONS),
        *(("demo-corpus --count 2 --output corpus", *case) for case in REDIRECTIONS),
        *(("translate {} {}", *case) for case in (REDIRECTIONS[0], REDIRECTIONS[-1])),  # slow: it imports torch
    ],
)
def test_unwritable_output_gives_one_line(tmp_path, monkeypatch, model, text, arguments, redirection, status, messages):
    monkeypatch.chdir(tmp_path)
    options = arguments.format(f"--model {model} --pair en-de", text("one two\n")).split()
    assert under(redirection.replace("sleep 20", "exit"), *options) == (status, "", messages)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_unwritable_help_gives_one_line(redirection):
    status, _, messages = under(redirection, "translate", "--help")
    assert status == 1
    assert messages.startswith("error: ")
    assert messages.count("\n") == 1


def test_error_status_does_not_depend_on_standard_error(model):
    for redirection in ("2>&-", "2>/dev/full"):
        assert under(redirection, "translate", "--model", model, "--pair", "en-tr") == (1, "", "")


# Random models


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_random_model_can_be_loaded(skipclm, tmp_path, architecture):
    (tmp_path / "text").write_text("one two three\n" * 9, encoding="utf-8")
    options = ["--layers", "3", "--width", "16", "--heads", "2", "--vocabulary", "300"]
    status, output, _ = skipclm("random-model", architecture, tmp_path / "new", tmp_path / "text", *options)
    assert (status, output) == (0, f"{tmp_path / 'new'}\n")
    model, tokenizer = checkpoints.load(tmp_path / "new")
    assert (model.config.model_type, model.config.num_hidden_layers, model.config.hidden_size) == (architecture, 3, 16)
    assert len(tokenizer) == model.config.vocab_size <= 300


def test_random_model_overwrites_nothing(skipclm, tmp_path):
    status, output, messages = skipclm("random-model", "llama", tmp_path)
    assert (status, output) == (1, "")
    assert "expected a folder that does not exist yet" in messages


def test_random_model_of_unknown_architecture_is_refused(skipclm, tmp_path):
    assert "write 'llama' if that is meant" in skipclm("random-model", "lama", tmp_path / "new")[2]


@pytest.mark.parametrize("content", ["", "\n \t\n"])
def test_random_model_needs_text_for_its_tokenizer(skipclm, tmp_path, text, content):
    message = "error: files: expected text for the tokenizer, found none in them; name others\n"
    assert skipclm("random-model", "llama", tmp_path / "new", text(content)) == (1, "", message)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["demo-corpus --output new", "random-model llama new"])
def test_too_large_seed_is_refused(skipclm, command):
    status, _, messages = skipclm(*command.split(), "--seed", 2**32)
    assert status == 2
    assert "--seed" in messages
