"""The command line: plan, follow and explain an experiment; translate; write demo corpora and random models."""

import itertools
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from skipclm.errors import InputError
from skipclm.runtime import atomic, console, startup

STANDARD_INPUT = Path("-")
MAX_SEED = 2**32 - 1  # the maximum in the configuration schema
CORES = len(os.sched_getaffinity(0))  # cores available to this process, counted as in Snakemake

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        console.write(f"skipclm {metadata.version('skipclm')}\n")
        raise typer.Exit


@app.callback()
def skipclm(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Plan an experiment, show its progress, explain its numbers, and translate with its models.

    To run the workflow itself, use snakemake.
    """


@app.command()
def translate(
    model: Annotated[Path, typer.Option(help="Folder of a trained model, such as .../full/seed4/model.")],
    pair: Annotated[str, typer.Option(help="Source and target language, such as en-de.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Text files, one sentence per line; none or -: standard input.")
    ] = None,
    beams: Annotated[int, typer.Option(min=1, max=1000, help="Number of beams; 1 is greedy search.")] = 1,
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Maximum tokens per batch, including translations and padding.")
    ] = 16384,
    length_ratio: Annotated[float, typer.Option(min=0, max=1000, help="Target tokens allowed per source token.")] = 2.0,
    length_extra: Annotated[int, typer.Option(min=1, max=1_000_000, help="Additional target tokens allowed.")] = 10,
) -> None:
    """Translate each line of files or standard input, and write one line per translation to standard output.

    If a line is too long for the model, its translation is an empty line, a message is written to standard error, and
    the exit status is 1. All other lines are translated.
    """
    with startup.without_garbage_collection():  # slow imports; --help does not need them
        from skipclm import text
        from skipclm.data import examples
        from skipclm.evaluation import decoding
        from skipclm.models import checkpoints

    _check_trained(model, checkpoints.read_record(model), pair)
    lines = [
        (position, text.tidy(line) if text.is_visible(line) else "")
        for position, line in _numbered_lines(files or [STANDARD_INPUT])
    ]
    decoder, tokenizer = checkpoints.load(model)
    _check_beams(beams, len(tokenizer))
    # A line without visible characters gives an empty line, because the model would invent a translation.
    nonblank = [line for _, line in lines if line]
    sources = examples.encode(tokenizer, nonblank) if nonblank else []
    options = {"length_ratio": length_ratio, "length_extra": length_extra, "progress": sys.stderr.isatty()}
    translated = decoding.translate(decoder, tokenizer, sources, beams=beams, batch_tokens=batch_tokens, **options)
    texts = iter(translated.texts)
    console.write("".join(f"{next(texts) if line else ''}\n" for _, line in lines))
    _report_too_long([position for position, line in lines if line], translated.too_long)


def _report_too_long(positions: list[str], too_long: list[bool]) -> None:
    """Report the sentences that are too long for the model, and exit with status 1 if there are any."""
    for position in itertools.compress(positions, too_long):
        console.print_error(
            f"{position}: not translated: expected a sentence that leaves room for its translation within the tokens "
            "that the model reads, found a longer one; shorten it, or make several lines of it"
        )
    if any(too_long):
        raise typer.Exit(1)


def _numbered_lines(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield the position of each line, such as "input.txt, line 3", and the line."""
    from skipclm.data import text_files
    from skipclm.data.text_files import read_lines

    for path in files:
        if path == STANDARD_INPUT:
            lines, name = text_files.decode_lines(_read_standard_input(), "standard input"), "standard input"
        else:
            lines, name = read_lines(path), str(path)
        yield from ((f"{name}, line {number}", line) for number, line in enumerate(lines, start=1))


def _read_standard_input() -> bytes:
    if sys.stdin is None:
        raise InputError("standard input: expected text, found it closed; name a file, or redirect one")
    try:
        os.set_blocking(sys.stdin.fileno(), True)  # otherwise read() does not wait for later input
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror}") from None


def _check_beams(beams: int, vocabulary: int) -> None:
    """Raise an `InputError` for too many beams: the search needs two continuations per beam."""
    if 2 * beams > vocabulary:
        raise InputError(
            f"--beams: expected at most {vocabulary // 2}, half of the {vocabulary} tokens that the model knows, found "
            f"{beams}; lower it"
        )


def _check_trained(model: Path, record: dict, pair: str) -> None:
    trained_for = record.get("pair")
    if not model.is_dir():
        raise InputError(f"--model: expected a model folder, found {model}, which is none; correct the path")
    if not trained_for:
        raise InputError(
            f"--model: expected a model that the workflow trained to translate, found {model}, which has no record of "
            "that; choose one such as results/demo/ablation/en-de/full/seed4/model"
        )
    if record.get("status") in ("diverged", "failed"):
        raise InputError(
            f"--model: expected a model that learned to translate, found {model}, whose training {record['status']}; "
            "take another seed, or train it again with a lower learning rate or more memory"
        )
    if trained_for != pair:
        raise InputError(
            f"--pair: expected {trained_for}, for which {model} was trained, found {pair}; correct it or take another "
            "model"
        )


@app.command()
def explain(
    results: Annotated[Path, typer.Argument(help="Folder of an experiment, such as results/demo.")],
    pair: Annotated[str, typer.Argument(help="Language pair, such as en-de.")],
    run: Annotated[str, typer.Argument(help="Ablation variant, or grid cell such as c3-s1-t18.")],
    metric: Annotated[str, typer.Argument(help="Metric, such as bleu.")] = "bleu",
    split: Annotated[str | None, typer.Option(help="Split; default: test, or valid for a grid cell.")] = None,
) -> None:
    """Show the origin of a number in a results table: runs, settings, data, code, libraries and machine."""
    from skipclm.planning import explanation

    console.write(explanation.explain(results, pair, run, metric, split))


@app.command()
def status(
    results: Annotated[Path, typer.Argument(help="Folder of an experiment, such as results/demo.")],
) -> None:
    """Show the progress of an experiment: what is done, running, failed and left; the best cell so far; the time left.

    It uses the configuration of the last start of the workflow. Jobs that `snakemake -n` would rerun because the text
    or the base model has changed still count as done.
    """
    from skipclm.planning import status as progress

    console.write(progress.report(results))


@app.command()
def plan(
    configfile: Annotated[
        list[Path] | None, typer.Option(help="Overlays of config.yaml; several files are possible, as in snakemake.")
    ] = None,
    config: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; several are possible, as in snakemake.")] = None,
    more: Annotated[
        list[str] | None, typer.Argument(help="Further files for --configfile and further KEY=VALUE for --config.")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Number of cores for the workflow.")] = CORES,
) -> None:
    """Estimate the cost of an experiment (steps, hours, memory, disk) from a few real steps of each training."""
    from skipclm.planning import plan as planning

    overlays, settings = planning.options(configfile or [], config or [], more or [])
    console.write(planning.plan(overlays, settings, cores))


@app.command("demo-corpus")
def demo_corpus(
    output: Annotated[Path, typer.Option(help="Folder to write demo.en, demo.de, demo.tr and demo.zh to.")],
    count: Annotated[int, typer.Option(min=1, help="Number of sentences.")] = 8000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed of the sentences.")] = 1,
) -> None:
    """Write the built-in corpus, line-aligned in four languages."""
    from skipclm.config import validation
    from skipclm.demo import generator

    validation.check_writable(output)
    console.write("".join(f"{path}\n" for path in generator.write_corpus(output, count, seed)))


@app.command("random-model")
def random_model(
    architecture: Annotated[
        str, typer.Argument(help="model_type of a decoder in transformers, such as llama or gpt2.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write the model to.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Text files to train the tokenizer; none: the built-in corpus.")
    ] = None,
    layers: Annotated[int, typer.Option(min=2, help="Number of blocks.")] = 4,
    width: Annotated[int, typer.Option(min=8, help="Width of the residual stream.")] = 64,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads.")] = 4,
    vocabulary: Annotated[int, typer.Option(min=300, help="Maximum vocabulary size of the tokenizer.")] = 3200,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed of the weights.")] = 1,
) -> None:
    """Write a small random decoder with its tokenizer, to test the workflow with an architecture."""
    with startup.without_garbage_collection():
        from skipclm.config import validation
        from skipclm.demo import generator
        from skipclm.models import checkpoints
        from skipclm.runtime import provenance
        from skipclm.training import base_model

    validation.check_writable(output)
    if output.exists():
        raise InputError(f"{output}: expected a folder that does not exist yet, found one; remove it or name another")
    if files:
        sentences = [line for _, line in _numbered_lines(files) if line.strip()]
        if not sentences:
            raise InputError("files: expected text for the tokenizer, found none in them; name others")
    else:
        sentences = [sentence for row in generator.generate(8000, 1) for sentence in row.values()]
    model, tokenizer = base_model.untrained(architecture, sentences, layers, width, heads, vocabulary, seed)
    with atomic.new_folder(output) as folder:
        checkpoints.save(model, tokenizer, folder, {"random": architecture} | provenance.environment())
    console.write(f"{output}\n")


def main() -> None:
    """Run the command line; an error that a user can fix gives one line on standard error and exit status 1."""
    missing = console.open_outputs()
    sys.stdout.reconfigure(encoding="utf-8")  # like the input, independent of the locale
    try:
        if "stdout" in missing:
            raise InputError("standard output: expected a place to print to, found it closed; redirect it to a file")
        app()
    except InputError as error:
        console.print_error(f"error: {error}")
        sys.exit(1)
    except OSError as error:
        # filename2 is the destination of a move, the name that the user knows.
        console.print_error(f"error: {error.filename2 or error.filename or 'input or output'}: {error.strerror}")
        sys.exit(1)
    finally:
        console.flush_outputs()
