"""The command line: what an experiment will cost, how far it is and where its numbers come from; models and corpora."""

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from skipclm import startup
from skipclm.errors import InputError

CORES = len(os.sched_getaffinity(0))  # that this process may use, as Snakemake counts them too

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"skipclm {metadata.version('skipclm')}")
        raise typer.Exit


@app.callback()
def skipclm(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Plan an experiment, follow it, ask where its numbers come from, and translate with its models.

    The workflow itself is run by snakemake.
    """


@app.command()
def translate(
    model: Annotated[Path, typer.Option(help="Folder of a trained model, such as .../full/seed4/model.")],
    pair: Annotated[str, typer.Option(help="Source and target language, such as en-de.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Text, a sentence a line; standard input if none.")] = None,
    beams: Annotated[int, typer.Option(min=1, help="Beams of the search; 1 is greedy.")] = 1,
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens at a time, translations and padding included.")
    ] = 16384,
    length_ratio: Annotated[float, typer.Option(min=0, help="Target tokens allowed for each source token ...")] = 2.0,
    length_extra: Annotated[int, typer.Option(min=1, help="... and on top.")] = 10,
) -> None:
    """Translate lines from files or standard input to lines on standard output."""
    with startup.loading():  # which takes seconds that --help need not wait for
        from skipclm import checkpoints, corpus, examples, translation

    _check_trained(model, checkpoints.read_record(model), pair)
    lines = [corpus.tidy(line) for path in files or ["/dev/stdin"] for line in corpus.read_lines(path)]
    decoder, tokenizer = checkpoints.load(model)
    # An empty line stays one: there is nothing to translate, and the model would make something up.
    filled = [line for line in lines if line]
    sources = examples.encode(tokenizer, filled) if filled else []
    options = {"length_ratio": length_ratio, "length_extra": length_extra, "progress": sys.stderr.isatty()}
    found = translation.translate(decoder, tokenizer, sources, beams=beams, batch_tokens=batch_tokens, **options)
    texts = iter(found.texts)
    for line in lines:
        print(next(texts) if line else "")


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
    run: Annotated[str, typer.Argument(help="Variant of the ablation, or cell of the grid such as c3-s1-t18.")],
    metric: Annotated[str, typer.Argument(help="Metric, such as bleu.")] = "bleu",
    split: Annotated[str | None, typer.Option(help="Test set; by default test, or valid for a cell.")] = None,
) -> None:
    """Say where a number in a results table comes from: runs, settings, data, code, libraries and machine."""
    from skipclm import explanation

    print(explanation.explain(results, pair, run, metric, split), end="")


@app.command()
def status(
    results: Annotated[Path, typer.Argument(help="Folder of an experiment, such as results/demo.")],
) -> None:
    """Say how far an experiment has come: done, running, failed and left, the best cell so far, and the time left.

    It goes by the configuration that the workflow was last started with; what `snakemake -n` would redo because text or
    base model has changed is still said to be done.
    """
    from skipclm import status as under_way

    print(under_way.report(results), end="")


@app.command()
def plan(
    configfile: Annotated[
        list[Path] | None, typer.Option(help="Overlay of config.yaml; as for snakemake, several may follow.")
    ] = None,
    config: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; as for snakemake, several may follow.")] = None,
    more: Annotated[
        list[str] | None, typer.Argument(help="Further files of --configfile, and further KEY=VALUE of --config.")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores that the workflow is to have.")] = CORES,
) -> None:
    """Say what an experiment will cost, after a few real steps of each training: steps, hours, memory and disk."""
    from skipclm import plan as planning

    overlays, settings = planning.options(configfile or [], config or [], more or [])
    print(planning.plan(overlays, settings, cores), end="")


@app.command("demo-corpus")
def demo_corpus(
    output: Annotated[Path, typer.Option(help="Folder to write demo.en, demo.de, demo.tr and demo.zh to.")],
    count: Annotated[int, typer.Option(min=1, help="Number of sentences.")] = 8000,
    seed: Annotated[int, typer.Option(min=0, help="Decides which sentences.")] = 1,
) -> None:
    """Write the built-in corpus, line-aligned in four languages."""
    from skipclm import demo, experiment

    experiment.check_writable(output)
    for path in demo.write_corpus(output, count, seed):
        print(path)


@app.command("random-model")
def random_model(
    architecture: Annotated[str, typer.Argument(help="A decoder's model_type in transformers, such as llama or gpt2.")],
    output: Annotated[Path, typer.Argument(help="Folder to write the model to.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Text for the tokenizer; the built-in corpus if none.")
    ] = None,
    layers: Annotated[int, typer.Option(min=2, help="Number of blocks.")] = 4,
    width: Annotated[int, typer.Option(min=8, help="Width of the residual stream.")] = 64,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads.")] = 4,
    vocabulary: Annotated[int, typer.Option(min=300, help="Entries of the tokenizer, at most.")] = 3200,
    seed: Annotated[int, typer.Option(min=0, help="Decides the weights.")] = 1,
) -> None:
    """Write a small random decoder with its tokenizer: to try the workflow with an architecture."""
    with startup.loading():
        from skipclm import base, checkpoints, corpus, demo, experiment, provenance

    experiment.check_writable(output)
    if output.exists():
        raise InputError(f"{output}: expected a folder that does not exist yet, found one; remove it or name another")
    if files:
        sentences = [line for path in files for line in corpus.read_lines(path)]
    else:
        sentences = [sentence for row in demo.generate(8000, 1) for sentence in row.values()]
    model, tokenizer = base.untrained(architecture, sentences, layers, width, heads, vocabulary, seed)
    with provenance.new_folder(output) as folder:
        checkpoints.save(model, tokenizer, folder, {"random": architecture} | provenance.environment())
    print(output)


def main() -> None:
    """Run the command line; what a user can mend is one line on standard error and exit status 1."""
    # In UTF-8 as the input, whatever the terminal's language; by the line, so that a reader that left is noticed here.
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
