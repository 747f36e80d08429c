"""Check a configuration before any job starts.

The schema defines the keys and their types. This module checks what a schema cannot express.
"""

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from skipclm.config import corpus_config, runs, schema
from skipclm.data.placeholders import check_name, expand
from skipclm.errors import InputError, naming, suggestion
from skipclm.evaluation import metrics
from skipclm.models import model_folder
from skipclm.pairs import Pair
from skipclm.runtime import atomic


def check(config: dict, rules: dict) -> None:
    """Raise an `InputError` for the first error in `config`; `rules` is its JSON Schema.

    Values of the schema type `number` become floats in place.
    """
    schema.check(config, rules)
    schema.make_floats(config, rules)
    check_pairs(config)
    corpus_config.check(config)
    check_metrics(config["evaluation"])
    check_model(config)
    check_tensorboard(config["execution"])
    cells = runs.grid_cells(config["grid"], depth(config))
    check_gate(runs.cell_settings(config, cells[0]), "skip.warmup_steps")
    check_processes(runs.cell_settings(config, cells[0]), "training.processes")
    for cell in cells:
        check_trained(runs.cell_settings(config, cell), "training.weights", [cell], depth(config))
    check_variants(config, cells)


def check_command(words: Sequence[str]) -> None:
    """Raise an `InputError` for a repeated option of snakemake, of which it would use only the last one."""
    for option, other in (("--configfile", "--configfiles"), ("--config", "-C")):
        count = sum(word.partition("=")[0] in (option, other) for word in words)
        if count > 1:
            raise InputError(
                f"{option}: expected the option once, because snakemake uses only the last one, found it {count} "
                "times; write it once, with all values after it"
            )


def check_paths(workflow: str | Path, python: str, on_cluster: bool = False) -> None:
    """Raise an `InputError` for a path with characters that Snakemake misreads.

    Snakemake takes braces for wildcards, and does not quote all characters in the commands of cluster jobs.
    """
    if re.search("[{}]", str(workflow)):
        raise InputError(f"expected a folder of the workflow without braces, found {workflow}; rename the folder")
    for path in (workflow, os.getcwd(), python) if on_cluster else ():
        if character := re.search(r"[^\w@+=:,./~-]", str(path)):
            raise InputError(
                f"expected paths of letters, digits and _@+=:,./~- for jobs on a cluster, found {character[0]!r} in "
                f"{path}; rename the folder"
            )


def check_pairs(config: dict) -> None:
    """Raise an `InputError` for a pair with an undefined language, or a pair of the grid that is not in `pairs`."""
    languages = config["languages"]
    for pair in config["pairs"]:
        for language in Pair(pair).languages:
            if language not in languages:
                raise InputError(
                    f"pairs: expected languages among {', '.join(languages)}, found {language!r} in {pair!r}; "
                    f"define languages.{language} or {suggestion(language, languages)}"
                )
        if len(set(Pair(pair).languages)) == 1:
            raise InputError(f"pairs: expected two different languages, found {pair!r}; correct the pair")
    for stage in ("grid", "ablation"):
        for pair in config[stage]["pairs"] or []:
            if pair not in config["pairs"]:
                raise InputError(
                    f"{stage}.pairs: expected some of pairs ({', '.join(config['pairs'])}), found {pair!r}; "
                    "add it to pairs or choose among them"
                )
    for name, language in languages.items():
        with naming(f"languages.{name}.bleu_tokenizer"):
            metrics.check_bleu_tokenizer(language["bleu_tokenizer"])
    for language in config["model"]["scratch"]["share"]:
        if language not in languages:
            raise InputError(
                f"model.scratch.share: expected languages among {', '.join(languages)}, found {language!r}; "
                f"define languages.{language} or {suggestion(language, languages)}"
            )


def check_metrics(evaluation: dict) -> None:
    """Raise an `InputError` for an unknown metric, or for a selection metric that is not scored."""
    with naming("evaluation.metrics"):
        metrics.check_names(evaluation["metrics"])
    selection = metrics.METRICS.get(evaluation["selection_metric"])
    if selection is not None and selection.name in metrics.RATES:
        raise InputError(
            f"evaluation.selection_metric: expected a metric of quality, found {selection.name!r}; choose another"
        )
    if evaluation["selection_metric"] not in evaluation["metrics"]:
        raise InputError(
            f"evaluation.selection_metric: expected one of evaluation.metrics ({', '.join(evaluation['metrics'])}), "
            f"found {evaluation['selection_metric']!r}; add it there or choose among them"
        )
    if evaluation["selection_metric"] == "spbleu" and not evaluation["spbleu_model"]:
        raise InputError(
            "evaluation.selection_metric: expected a metric that can run, found spbleu without a spbleu_model; name "
            "its file there, or choose another metric"
        )
    for name, model in evaluation["neural"].items():
        if name in evaluation["metrics"] and model.startswith("~"):
            with naming(f"evaluation.neural.{name}"):
                expand(model)
    if path := spbleu_file(evaluation):
        check_spbleu_file(Path(path), evaluation["spbleu_sha256"])
        with naming("evaluation.spbleu_model"):
            metrics.check_spbleu_model(path)


def check_selection(evaluation: dict, has_comet: bool) -> None:
    """Raise an `InputError` if the selection metric needs the environment of COMET, and there is none."""
    name = evaluation["selection_metric"]
    if name in metrics.NEURAL and not has_comet:
        raise InputError(
            f"evaluation.selection_metric: expected a metric that can run, found {name} without the environment that "
            "it needs; build it with `make comet`, use --sdm conda, or choose another metric"
        )


def check_tensorboard(execution: dict) -> None:
    """Raise an `InputError` if events for TensorBoard are enabled and it is not installed."""
    if execution["tensorboard"] and find_spec("tensorboard") is None:
        raise InputError(
            "execution.tensorboard: expected tensorboard to be installed, found none; install it, or set it to false"
        )


def spbleu_file(evaluation: dict) -> str | None:
    """Return the path of the sentencepiece model of spBLEU if this metric is scored and has a model."""
    model = evaluation["spbleu_model"] if "spbleu" in evaluation["metrics"] else None
    with naming("evaluation.spbleu_model"):
        return model and str(expand(model))


def check_spbleu_file(path: Path, sha256: str | None) -> None:
    """Raise an `InputError` unless the sentencepiece model of spBLEU is a file, with the digest if one is given."""
    with naming("evaluation.spbleu_model"):
        check_name(path)
        try:
            digest = atomic.sha256(path) if path.is_file() else None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; correct the path or its permissions") from None
        if digest is None:
            raise InputError(
                f"expected sacrebleu's sentencepiece model, found no file {path}; correct the path, or set it to null"
            )
        if sha256 and digest != sha256:
            raise InputError(
                f"expected a file with the digest evaluation.spbleu_sha256, {sha256}, found {digest}; copy it again"
            )


def base_settings(config: dict) -> dict:
    """Return the settings of the section `model` that the base model depends on."""
    model = config["model"]
    keys = ("source", "scratch") if model["source"] == "scratch" else ("source", "revision", "layers")
    return runs.in_order({key: model[key] for key in keys})


def file_sizes(files: list[str]) -> list[int]:
    """Return the sizes of files in bytes. They reveal a file that was replaced by an older one, unlike the dates."""
    return [os.stat(path).st_size for path in files]


def model_files(config: dict) -> list[str]:
    """Return the files of a base model in a folder; none for a model from the hub or from scratch."""
    source = config["model"]["source"]
    if source == "scratch" or not model_folder.is_folder(source):
        return []
    return sorted(str(path) for path in model_folder.expand(source).iterdir() if path.is_file())


def check_model(config: dict) -> None:
    """Raise an `InputError` for a base model that cannot be built or is not a decoder."""
    model, scratch = config["model"], config["model"]["scratch"]
    if model["source"] == "scratch":
        if model["layers"] not in (None, scratch["layers"]):
            raise InputError(
                f"model.layers: expected null, because model.scratch.layers sets it for a model from scratch, found "
                f"{model['layers']}; set model.scratch.layers instead"
            )
        special = 3  # <begin> source </s> target </s>
        if config["training"]["max_tokens"] + special > runs.CONTEXT:
            raise InputError(
                f"training.max_tokens: expected at most {runs.CONTEXT - special}, because a model from scratch reads "
                f"{runs.CONTEXT} tokens, {special} of them special; found {config['training']['max_tokens']}; lower it"
            )
        step = 2 * scratch["heads"]
        if scratch["width"] % step:
            raise InputError(
                f"model.scratch.width: expected a multiple of {step}, twice the {scratch['heads']} heads, "
                f"found {scratch['width']}; change width or heads"
            )
    elif model_folder.is_folder(model["source"]):
        model_folder.check(model_folder.expand(model["source"]))
        if model["layers"] not in (None, depth(config)):
            raise InputError(
                f"model.layers: expected {depth(config)}, the value in {model['source']}/config.json, found "
                f"{model['layers']}; set it to null"
            )
    else:
        depth(config)  # raises an error if it is not given, because a hub id does not contain it


def depth(config: dict) -> int:
    """Return the number of blocks of the base model. Raises an `InputError` if it is not given."""
    model = config["model"]
    if model["source"] == "scratch":
        return model["scratch"]["layers"]
    if not model_folder.is_folder(model["source"]):
        if model["layers"] is None:
            raise InputError(
                f"model.layers: expected the number of blocks of {model['source']}, found null. There is no such "
                "folder, so it is a hub id; set its number of blocks (24 for XGLM-564M), so that planning needs no "
                "network"
            )
        return model["layers"]
    return model_folder.depth(model_folder.expand(model["source"]))


def check_variants(config: dict, cells: list[runs.Cell]) -> None:
    """Raise an `InputError` for no variants, or for a variant with impossible layers or settings.

    A layer `best` can become that of any of the `cells`.
    """
    if not runs.variants(config):
        raise InputError("ablation.variants: expected at least one that is not null, found none; name one")
    baseline, names = config["ablation"]["baseline"], runs.variants(config)
    if baseline is not None and baseline not in names:
        raise InputError(
            f"ablation.baseline: expected one of ablation.variants ({', '.join(names)}) or null, found {baseline!r}; "
            f"{suggestion(baseline, names)}"
        )
    for variant, override in runs.variants(config).items():
        settings = runs.variant_settings(config, variant)
        keys = {}
        for section, key in map(runs.LAYERS.get, runs.used_layers(settings)):
            is_own = key in override.get(section, {})
            keys[section, key] = f"ablation.variants.{variant}.{section}.{key}" if is_own else f"{section}.{key}"
        check_layers(settings, keys, cells, depth(config))
        check_gate(settings, f"ablation.variants.{variant}: skip.warmup_steps")
        check_processes(settings, f"ablation.variants.{variant}: training.processes")
        check_trained(settings, f"ablation.variants.{variant}: training.weights", cells, depth(config))


def winning_variant(config: dict) -> str | None:
    """Return the first variant with the settings of the best cell, that is, with all layers `best`; or None."""
    best = runs.cell_settings(config, runs.Cell("best", "best", "best"))
    return next((name for name in runs.variants(config) if runs.variant_settings(config, name) == best), None)


def check_gate(settings: dict, key: str) -> None:
    """Raise an `InputError` about `key` if the training ends before a `warmup` gate is fully open."""
    skip, steps = settings["skip"], settings["training"].get("steps")
    if skip["enabled"] and skip["gate"] == "warmup" and skip["warmup_steps"] >= steps:
        raise InputError(
            f"{key}: expected less than training.steps, which is {steps}, found {skip['warmup_steps']}; lower it, "
            "or the gate of the skip would never be fully open"
        )


def check_processes(settings: dict, key: str) -> None:
    """Raise an `InputError` about `key` for more processes than pairs in a batch, or with an incompatible setting."""
    processes, batch_size = (settings["training"].get(name, 1) for name in ("processes", "batch_size"))
    if processes > 1 and settings["training"]["gradient_cosine"]:
        raise InputError(
            f"{key}: expected 1, because training.gradient_cosine needs one process, found {processes}; change one"
        )
    if processes > batch_size:
        raise InputError(
            f"{key}: expected at most training.batch_size, {batch_size}, because they share a batch, found "
            f"{processes}; lower it"
        )


def check_devices(config: dict, devices: list[str]) -> None:
    """Raise an `InputError` if a training has more processes than this machine has devices, unless it has none."""
    variants = [runs.variant_settings(config, name) for name in runs.variants(config)]
    processes = max(settings["training"].get("processes", 1) for settings in (config, *variants))
    if devices and processes > len(devices):
        raise InputError(
            f"training.processes: expected at most the {len(devices)} devices of this machine, found {processes}; "
            "lower it, or set CUDA_VISIBLE_DEVICES to more devices, or to none to train on CPUs"
        )


def check_trained(settings: dict, key: str, cells: list[runs.Cell], depth: int) -> None:
    """Raise an `InputError` about `key` if a loss would have no weights to train.

    A layer `best` can become that of any of the `cells`.
    """
    if settings["training"].get("weights") != "frozen":
        return
    if not settings["skip"]["enabled"]:
        raise InputError(
            f"{key}: expected full or lora, because there is no skip connection to train, found frozen; change it, "
            "enable the skip, or drop the variant"
        )
    if not settings["contrastive"]["enabled"]:
        return
    for cell in cells:
        layers = runs.used_layers(runs.with_layers(settings, depth, vars(cell)))
        if layers["contrastive_layer"] < layers["skip_target"]:
            raise InputError(
                f"{key}: expected full or lora, because only the skip would be trained, and it ends at block "
                f"{layers['skip_target']}, above the contrastive layer {layers['contrastive_layer']}, found frozen; "
                "change it, or set the contrastive layer to at least skip.target"
            )


def check_layers(settings: dict, keys: dict[tuple[str, str], str], cells: list[runs.Cell], depth: int) -> None:
    """Raise an `InputError` for a layer that is too high or a skip that does not lead upwards.

    `keys` are the names of the layers in the message, by section and key of the settings.
    """
    given = {place: settings[place[0]][place[1]] for place in keys}
    for place, layer in given.items():
        if layer != "best":
            runs.resolve_layer(layer, depth, keys[place])
    source, target = ("skip", "source"), ("skip", "target")
    if source not in keys:
        return
    for cell in cells:
        skip = runs.with_layers(settings, depth, vars(cell))["skip"]
        if skip["source"] >= skip["target"]:
            condition = f", if the grid chooses {cell.name}" if "best" in (given[source], given[target]) else ""
            raise InputError(
                f"{keys[source]}: expected a block below {keys[target]}, found {skip['source']} and {skip['target']}"
                f"{condition}; change one of them"
            )


def check_writable(folder: str | Path) -> None:
    """Raise an `InputError` unless `folder` exists or can be made, and can be written to."""
    path = Path(folder)
    while not os.path.lexists(path):
        path = path.parent
    if not path.is_dir():
        raise InputError(
            f"{folder}: expected a folder, or a path for a new one, but {path.absolute()} is not a folder; move it away"
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder}: expected a folder that can be written to, but {path.absolute()} cannot; "
            "change its permissions or work in another folder"
        )
