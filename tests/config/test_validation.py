"""Configurations that cannot run are refused before any job; test_schema.py has the errors of the schema."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from configurations import ROOT, SCHEMA, overlaid, refusal

from skipclm.config import corpus_config, runs, validation
from skipclm.errors import InputError
from skipclm.models import model_folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder of a test; paths of the configuration are relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_model(folder, architectures=("XGLMForCausalLM",), **settings):
    """Write the files of a saved decoder with four blocks, without real weights."""
    folder.mkdir()
    settings = {"architectures": list(architectures), "num_layers": 4} | settings
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


# Valid configurations


@pytest.mark.parametrize(
    "overlay",
    [
        "",
        "{pairs: [en-de, de-en], grid: {pairs: [de-en]}}",
        "ablation: {variants: {base: null}}",
        "ablation: {variants: {fixed: {contrastive: {layer: 6}, skip: {source: '0.5', target: 1.0}}}}",
        "ablation: {variants: {lower: {skip: {source: 3}}, upper: {skip: {target: 3}}}}",  # fits every cell
        "skip: {source: 2, target: 3}",
        "grid: {skip_source: [1-6], skip_target: [1-6], constraints: [skip_source < skip_target]}",
        "ablation: {variants: {without: {skip: {enabled: false, source: 99, target: 1}}}}",  # not used
        "{model: {source: facebook/xglm-564M, layers: 24}, grid: {contrastive_layer: [24]}}",
        "corpus: {sources: {gone: {kind: tsv, path: gone.tsv}}}",  # no split uses it
        "corpus: {valid: {source: demo, size: null}}",
    ],
)
def test_valid_configuration_passes(overlay):
    validation.check(overlaid(overlay), SCHEMA)


# Pairs, languages and metrics


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            "pairs: [en-fr]",
            "pairs: expected languages among en, de, tr, zh, found 'fr' in 'en-fr'; define languages.fr or correct it",
        ),
        ("pairs: [en-de, en-en]", "pairs: expected two different languages, found 'en-en'; correct the pair"),
        (
            "grid: {pairs: [tr-en]}",
            "grid.pairs: expected some of pairs (en-de, en-tr, en-zh), found 'tr-en'; add it to pairs or choose "
            "among them",
        ),
        (
            "pairs: [en-tr]",
            "grid.pairs: expected some of pairs (en-tr), found 'en-de'; add it to pairs or choose among them",
        ),
        (
            "ablation: {pairs: [en-de, de-tr]}",
            "ablation.pairs: expected some of pairs (en-de, en-tr, en-zh), found 'de-tr'; add it to pairs or choose "
            "among them",
        ),
        (
            "model: {scratch: {share: {fr: 0.5}}}",
            "model.scratch.share: expected languages among en, de, tr, zh, found 'fr'; "
            "define languages.fr or correct it",
        ),
        (
            "{languages: {fr: {name: French, bleu_tokenizer: 13a}}, pairs: [en-de, fr-en]}",
            "corpus.sources.demo: expected pairs of the built-in corpus's languages (en, de, tr, zh), found fr; "
            "correct pairs or the source",
        ),
        (
            "evaluation: {metrics: [chrf]}",
            "evaluation.selection_metric: expected one of evaluation.metrics (chrf), found 'bleu'; "
            "add it there or choose among them",
        ),
        (
            "evaluation: {selection_metric: ter}",
            "evaluation.selection_metric: expected one of evaluation.metrics (bleu, chrf, empty, copied, "
            "wrong_language, looping, length_ratio, cut), found 'ter'; add it there or choose among them",
        ),
    ],
)
def test_languages_and_metrics_must_be_known(overlay, message):
    assert refusal(overlay) == message


@pytest.mark.parametrize(
    ("overlay", "key", "problem"),
    [
        ("languages: {zh: {bleu_tokenizer: zhh}}", "languages.zh.bleu_tokenizer", "found 'zhh'; write 'zh' if"),
        (
            "languages: {zh: {bleu_tokenizer: ja-mecab}}",
            "languages.zh.bleu_tokenizer",
            "found that 'ja-mecab' does not",
        ),
        ("evaluation: {metrics: [bleu, chrff]}", "evaluation.metrics", "found 'chrff'; write 'chrf' if"),
    ],
)
def test_names_unknown_to_sacrebleu_are_refused(overlay, key, problem):
    message = refusal(overlay)
    assert message.startswith(f"{key}: expected a ")
    assert problem in message


def test_selection_metric_must_be_able_to_run():
    assert "found spbleu without a spbleu_model" in refusal("evaluation: {metrics: [spbleu], selection_metric: spbleu}")


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ("{}", "full"),
        ("{full: null}", None),
        ("{full: {contrastive: {temperature: 0.5}}, mine: {}}", "mine"),
        ("{full: {skip: {target: 4}}}", None),
    ],
)
def test_winner_is_the_variant_with_the_settings_of_the_best_cell(variants, expected):
    assert validation.winning_variant(overlaid(f"ablation: {{variants: {variants}}}")) == expected


@pytest.mark.parametrize(
    ("overlay", "key"),
    [
        ("evaluation: {metrics: [bleu, spbleu], spbleu_model: ~nosuchuser/m}", "evaluation.spbleu_model"),
        ("evaluation: {metrics: [bleu, comet], neural: {comet: ~nosuchuser/m}}", "evaluation.neural.comet"),
        (
            "corpus: {folder: ~nosuchuser, train: {source: mine}, sources: {mine: {kind: tsv, path: a}}}",
            "corpus.folder",
        ),
        (
            "corpus: {train: {source: a}, sources: "
            "{a: {kind: hub, dataset: ~nosuchuser, split: s, fields: '{language}'}}}",
            "corpus.sources.a",
        ),
        ("corpus: {train: {source: mine}, sources: {mine: {kind: tsv, path: ~nosuchuser/a}}}", "corpus.sources.mine"),
    ],
)
def test_unknown_home_folder_is_named_by_its_key(overlay, key):
    message = refusal(overlay)
    assert f"{key}: expected a user with a home folder, found ~nosuchuser" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["x" * 300, "folder"])
def test_unreadable_model_of_spbleu_is_refused(folder, name):
    (folder / "folder").mkdir()
    message = refusal(f"evaluation: {{metrics: [bleu, spbleu], spbleu_model: {name}}}")
    assert message.startswith("evaluation.spbleu_model: ")
    assert "correct the path" in message


def test_model_of_spbleu_is_checked(folder, pieces):
    overlay = "{metrics: [bleu, spbleu], spbleu_model: pieces.model"
    assert "evaluation.spbleu_model: expected sacrebleu's sentencepiece model, found no file pieces.model" in refusal(
        f"evaluation: {overlay}}}"
    )
    (folder / "pieces.model").write_bytes(pieces.read_bytes())
    digest = hashlib.sha256(pieces.read_bytes()).hexdigest()
    validation.check(overlaid(f"evaluation: {overlay}, spbleu_sha256: {digest}}}"), SCHEMA)
    other = digest[::-1]
    assert f"{other}, found {digest}; copy it again" in refusal(f"evaluation: {overlay}, spbleu_sha256: '{other}'}}")
    assert "spbleu_sha256" in refusal("evaluation: {spbleu_sha256: abc}")
    (folder / "pieces.model").write_bytes(b"<html>")
    assert "evaluation.spbleu_model: expected a sentencepiece model" in refusal(f"evaluation: {overlay}}}")
    validation.check(overlaid("evaluation: {spbleu_model: gone}"), SCHEMA)  # spbleu is not a metric here


# Parameters of runs


def test_order_and_repeated_defaults_change_no_parameters():
    plain, reordered = overlaid(), overlaid()
    reordered["corpus"] = dict(reversed(reordered["corpus"].items()))
    reordered["corpus"]["sources"]["demo"] = dict(reversed(plain["corpus"]["sources"]["demo"].items()))
    reordered["training"] = dict(reversed(reordered["training"].items()))
    reordered["model"]["scratch"] = dict(reversed(reordered["model"]["scratch"].items()))
    assert str(corpus_config.resolve(plain)) == str(corpus_config.resolve(reordered))
    assert str(validation.base_settings(plain)) == str(validation.base_settings(reordered))
    for variant in plain["ablation"]["variants"]:
        assert str(runs.variant_settings(plain, variant)) == str(runs.variant_settings(reordered, variant))


def test_unused_settings_change_no_parameters():
    other = overlaid("{corpus: {folder: elsewhere}, model: {revision: main}}")
    assert corpus_config.resolve(other) == corpus_config.resolve(overlaid())
    assert validation.base_settings(other) == validation.base_settings(overlaid())


# The gate


@pytest.mark.parametrize(
    ("overlay", "key", "steps", "warmup"),
    [
        ("skip: {warmup_steps: 200}", "skip.warmup_steps", 140, 200),
        ("training: {steps: 50}", "skip.warmup_steps", 50, 50),
        (
            "ablation: {variants: {quick: {training: {steps: 20}}}}",
            "ablation.variants.quick: skip.warmup_steps",
            20,
            50,
        ),
    ],
)
def test_training_must_be_longer_than_the_warmup_of_the_gate(overlay, key, steps, warmup):
    assert refusal(overlay) == (
        f"{key}: expected less than training.steps, which is {steps}, found {warmup}; lower it, "
        "or the gate of the skip would never be fully open"
    )


@pytest.mark.parametrize("overlay", ["skip: {gate: learned, warmup_steps: 200}", "skip: {warmup_steps: 139}"])
def test_valid_gates_pass(overlay):
    validation.check(overlaid(overlay), SCHEMA)


# Processes and TensorBoard


@pytest.mark.parametrize(
    ("overlay", "key"),
    [
        ("training: {processes: 49, batch_size: 48}", "training.processes"),
        (
            "{training: {batch_size: 48}, ablation: {variants: {wide: {training: {processes: 49}}}}}",
            "ablation.variants.wide: training.processes",
        ),
    ],
)
def test_each_process_needs_a_pair(overlay, key):
    message = "expected at most training.batch_size, 48, because they share a batch, found 49; lower it"
    assert refusal(overlay) == f"{key}: {message}"


def test_tensorboard_must_be_installed(monkeypatch):
    monkeypatch.setattr(validation, "find_spec", lambda name: None)
    assert refusal("execution: {tensorboard: true}") == (
        "execution.tensorboard: expected tensorboard to be installed, found none; install it, or set it to false"
    )
    validation.check(overlaid(), SCHEMA)


# Layers

BEYOND = "expected a block from 1 to 6, the depth of the model, found "
FRACTION = "expected a fraction of the depth above 0 and up to 1, found "


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("contrastive: {layer: 7}", f"contrastive.layer: {BEYOND}7; correct it"),
        ("skip: {source: 1, target: '7'}", f"skip.target: {BEYOND}7; correct it"),
        ("ablation: {variants: {a: {contrastive: {layer: 7}}}}", f"ablation.variants.a.contrastive.layer: {BEYOND}7"),
        ("grid: {skip_target: [5, 7]}", f"grid.skip_target: {BEYOND}7; correct it"),
        ("grid: {contrastive_layer: [2-7]}", f"grid.contrastive_layer: {BEYOND}7; correct it"),
        ("contrastive: {layer: '0.0'}", f"contrastive.layer: {FRACTION}0.0; correct it"),
        ("contrastive: {layer: '1.05'}", f"contrastive.layer: {FRACTION}1.05; correct it"),
        ("grid: {contrastive_layer: ['0.0']}", f"grid.contrastive_layer: {FRACTION}0.0; correct it"),
        ("ablation: {variants: {a: {skip: {source: '0.0'}}}}", f"ablation.variants.a.skip.source: {FRACTION}0.0"),
        ("model: {scratch: {layers: 4}}", "grid.skip_target: expected a block from 1 to 4"),
    ],
)
def test_layer_must_exist_in_the_model(overlay, message):
    assert refusal(overlay).startswith(message)


BELOW = "expected a block below"


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        # of the sections
        ("skip: {source: 4, target: 4}", f"skip.source: {BELOW} skip.target, found 4 and 4; change one of them"),
        ("skip: {source: 1.0, target: '0.5'}", f"skip.source: {BELOW} skip.target, found 6 and 3; change one of them"),
        # of a variant, all or some
        (
            "ablation: {variants: {a: {skip: {source: 3, target: 2}}}}",
            f"ablation.variants.a.skip.source: {BELOW} ablation.variants.a.skip.target, found 3 and 2; "
            "change one of them",
        ),
        (
            "{skip: {source: 1, target: 3}, ablation: {variants: {a: {skip: {source: 3}}}}}",
            f"ablation.variants.a.skip.source: {BELOW} skip.target, found 3 and 3; change one of them",
        ),
        # of a section or a variant and the grid: its lowest targets are 4, its highest sources 2
        (
            "skip: {source: 4}",
            f"skip.source: {BELOW} skip.target, found 4 and 4, if the grid chooses c1-s1-t4; change one of them",
        ),
        (
            "skip: {target: 2}",
            f"skip.source: {BELOW} skip.target, found 2 and 2, if the grid chooses c1-s2-t4; change one of them",
        ),
        (
            "ablation: {variants: {a: {skip: {target: 1}}}}",
            f"skip.source: {BELOW} ablation.variants.a.skip.target, found 1 and 1, if the grid chooses c1-s1-t4; "
            "change one of them",
        ),
        # of the grid
        (
            "grid: {skip_source: [1, 4]}",
            "grid.skip_source: expected blocks below grid.skip_target, found 4 and 4; "
            "change the lists or add the constraint 'skip_source < skip_target'",
        ),
        (
            "grid: {constraints: [skip_source > 2]}",
            "grid.constraints: expected constraints that leave a cell, found that skip_source > 2 exclude all 8; "
            "drop one or widen the lists of layers",
        ),
        (
            "grid: {constraints: [skip_source = 2]}",
            "grid.constraints: expected a comparison of contrastive_layer, skip_source, skip_target and numbers, such "
            "as 'skip_target >= skip_source + 3', found 'skip_source = 2'; correct it, or split it into two",
        ),
    ],
)
def test_skip_must_lead_upwards_for_every_choice_of_the_grid(overlay, message):
    assert refusal(overlay) == message


def test_at_least_one_variant_must_remain():
    dropped = ", ".join(f"{name}: null" for name in overlaid()["ablation"]["variants"])
    assert refusal(f"ablation: {{variants: {{{dropped}}}}}") == (
        "ablation.variants: expected at least one that is not null, found none; name one"
    )


# The base model


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            "model: {scratch: {width: 100, heads: 3}}",
            "model.scratch.width: expected a multiple of 6, twice the 3 heads, found 100; change width or heads",
        ),
        (
            "model: {source: facebook/xglm-564M}",
            "model.layers: expected the number of blocks of facebook/xglm-564M, found null. There is no such folder, "
            "so it is a hub id; set its number of blocks (24 for XGLM-564M), so that planning needs no network",
        ),
        (
            "model: {source: ./gone}",
            "model.source: expected a folder with a Hugging Face decoder, found gone, which does not exist; "
            "correct the path, or give a hub id such as facebook/xglm-564M",
        ),
    ],
)
def test_base_model_must_be_buildable(overlay, message):
    assert refusal(overlay) == message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("gpt2", False),
        ("facebook/xglm-564M", False),
        ("here", True),
        ("./gone", True),
        ("/gone/model", True),
        ("~/gone", True),
        ("models/decoders/gone", True),
        ("gone/", True),
    ],
)
def test_folders_and_hub_ids_are_distinguished(folder, source, expected):
    (folder / "here").mkdir()
    assert model_folder.is_folder(source) is expected


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_layers", "n_layer"])
@pytest.mark.parametrize("architecture", ["XGLMForCausalLM", "GPT2LMHeadModel"])
def test_folder_of_a_decoder_states_its_depth(folder, key, architecture):
    write_model(folder / "base", [architecture], **{"num_layers": None, key: 4})
    config = overlaid("{model: {source: base}, grid: {skip_target: [4]}}")
    validation.check(config, SCHEMA)
    assert validation.depth(config) == 4


def remove(*patterns):
    def break_model(folder):
        for path in {path for pattern in patterns for path in folder.glob(pattern)}:
            path.unlink()

    return break_model


def replace_config(text):
    return lambda folder: (folder / "config.json").write_text(text, encoding="utf-8")


def put_file(folder):
    shutil.rmtree(folder)
    folder.touch()


def put_training_leftovers(folder):
    remove("*.safetensors")(folder)
    (folder / "training_args.bin").touch()
    (folder / "adapter_model.safetensors").touch()


@pytest.mark.parametrize(
    ("break_model", "fault"),
    [
        (put_file, "which is a file; correct the path"),
        (remove("config.json"), "which has no config.json; give the folder that save_pretrained wrote"),
        (
            replace_config('{"architectures": ["BertForMaskedLM"]}'),
            "which has the architecture BertForMaskedLM in config.json; choose a model with",
        ),
        (replace_config("{}"), "which has no architecture in config.json; choose a model with"),
        (remove("*.safetensors"), "which has no weights (model.safetensors); download or save them there"),
        (put_training_leftovers, "which has no weights (model.safetensors); download or save them there"),
        (remove("tokenizer*"), "which has no tokenizer (tokenizer.json); save the tokenizer beside the model"),
    ],
)
def test_folder_without_a_complete_decoder_is_refused(folder, break_model, fault):
    break_model(write_model(folder / "base"))
    assert refusal("model: {source: base}").startswith(
        f"model.source: expected a folder with a Hugging Face decoder, found base, {fault}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"model.source: expected JSON in {path}, found Expecting property name"),
        ("[]", r"model.source: expected a JSON object in {path}, found another value; save the model again"),
    ],
)
def test_broken_config_json_is_named(folder, text, message):
    replace_config(text)(write_model(folder / "base"))
    message = message.format(path=Path("base", "config.json"))
    assert refusal("model: {source: base}").startswith(message)


def test_decoder_of_unknown_depth_is_refused(folder):
    write_model(folder / "base", ["SkipCLMForCausalLM"], num_layers=None, base={"num_layers": 4})
    assert refusal("model: {source: base}") == (
        "model.source: expected the number of blocks in base/config.json under num_hidden_layers, num_layers, n_layer, "
        "found none of them; choose a plain decoder, without a skip connection"
    )


def test_folder_must_have_the_configured_depth(folder):
    write_model(folder / "base")
    validation.check(overlaid("{model: {source: base, layers: 4}, grid: {skip_target: [3, 4]}}"), SCHEMA)
    assert refusal("model: {source: base, layers: 24}") == (
        "model.layers: expected 4, the value in base/config.json, found 24; set it to null"
    )


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model-00001-of-00002.safetensors"])
def test_weights_in_other_formats_are_accepted(folder, weights):
    base = write_model(folder / "base")
    (base / "model.safetensors").rename(base / weights)
    model_folder.check(base)


# Result folders


@pytest.mark.parametrize("existing", ["", "results", "results/demo"])
def test_check_does_not_create_result_folders(folder, existing):
    (folder / existing).mkdir(parents=True, exist_ok=True)
    validation.check_writable("results/demo")
    assert (folder / "results/demo").exists() is (existing == "results/demo")


@pytest.mark.parametrize("blocked", ["results", "results/demo"])
@pytest.mark.parametrize("block", [Path.touch, lambda path: path.symlink_to("gone")])
def test_result_folder_that_cannot_be_created_is_refused(folder, blocked, block):
    blocked_path = folder / blocked
    blocked_path.parent.mkdir(exist_ok=True)
    block(blocked_path)
    with pytest.raises(InputError) as caught:
        validation.check_writable("results/demo")
    assert str(caught.value) == (
        f"results/demo: expected a folder, or a path for a new one, but {blocked_path} is not a folder; move it away"
    )


def test_result_folder_without_permission_is_refused(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root can write everywhere
    with pytest.raises(InputError) as caught:
        validation.check_writable("results/demo")
    assert str(caught.value) == (
        f"results/demo: expected a folder that can be written to, but {folder} cannot; "
        "change its permissions or work in another folder"
    )


# With Snakemake


def plan(folder, overlay):
    """Run a dry run in another folder with an overlay; return status and output."""
    (folder / "mine.yaml").write_text(overlay, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", "mine.yaml", "--dry-run"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("training: {stepz: 3}", "training: unknown key 'stepz'; write 'steps' if that is meant, or remove it."),
        ("skip: {source: 3, target: 2}", "skip.source: expected a block below skip.target, found 3 and 2"),
        (
            "corpus: {sources: {a: {kind: tsv, path: gone.tsv}}, test: {source: a}}",
            "corpus.sources.a.path: there is no file gone.tsv (for en-de); correct the path",
        ),
    ],
)
def test_snakemake_refuses_to_plan_a_wrong_configuration(folder, overlay, message):
    status, output = plan(folder, overlay)
    assert status == 1
    assert message in output
    assert "Traceback" not in output
    assert not (folder / "results").exists()


@pytest.mark.slow
def test_snakemake_refuses_to_plan_without_a_writable_folder(folder):
    (folder / "logs").touch()
    status, output = plan(folder, "{}")
    assert status == 1
    assert f"logs/demo: expected a folder, or a path for a new one, but {folder}/logs is not a folder" in output
    assert not (folder / "results").exists()


@pytest.mark.slow
def test_dry_run_creates_no_files(folder):
    status, output = plan(
        folder, "{experiment: tiny, grid: {seeds: [1, 2], skip_source: [1]}, ablation: {variants: {base: null}}}"
    )
    assert status == 0, output
    rows = [line.split() for line in output.splitlines()]
    assert ["train_cell", "8"] in rows  # 2 contrastive layers x 1 source x 2 targets x 2 seeds
    assert ["collect_grid", "1"] in rows
    assert not any((folder / name).exists() for name in ("results", "logs", "benchmarks"))


def test_braces_in_a_path_are_refused(folder):
    (folder / "a{b}.tsv").touch()
    overlay = "corpus: {sources: {a: {kind: tsv, path: 'a{b}.tsv'}}, test: {source: a}}"
    assert "holds {b}; known here" in refusal(overlay)
    (folder / "{c}").mkdir()
    (folder / "{c}/a.tsv").touch()
    overlay = "{pairs: [en-de], corpus: {folder: '{c}', sources: {a: {kind: tsv, path: a.tsv}}, test: {source: a}}}"
    assert refusal(overlay).startswith("corpus.sources.a.path: expected a path without braces")
    write_model(folder / "m{d}")
    assert refusal("model: {source: './m{d}'}").startswith("model.source: expected a path without braces")


def test_examples_must_fit_a_model_from_scratch():
    validation.check(overlaid("training: {max_tokens: 509}"), SCHEMA)
    assert refusal("training: {max_tokens: 510}").startswith(
        "training.max_tokens: expected at most 509, because a model"
    )


def test_model_layers_must_agree_with_the_depth_from_scratch():
    assert refusal("model: {layers: 8}").startswith("model.layers: expected null, because model.scratch.layers sets it")
    validation.check(overlaid("model: {layers: 6}"), SCHEMA)


@pytest.mark.parametrize("architectures", [[3], "GPT2LMHeadModel"])
def test_architectures_must_be_names(folder, architectures):
    write_model(folder / "base", architectures=["x"])
    settings = {"architectures": architectures, "num_layers": 4}
    (folder / "base/config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert "no list of names under architectures" in refusal("model: {source: ./base}")


# Trained weights


@pytest.mark.parametrize("variant", ["finetune", "contrastive_only"])
def test_frozen_base_without_a_skip_is_refused(variant):
    message = refusal(f"ablation: {{variants: {{{variant}: {{training: {{weights: frozen}}}}}}}}")
    assert message.startswith(f"ablation.variants.{variant}: training.weights: expected full or lora")


def test_contrastive_layer_below_the_skip_of_a_frozen_base_is_refused():
    frozen = "training: {weights: frozen}"
    message = refusal(f"{frozen}\ngrid: {{contrastive_layer: [3], skip_target: [4]}}")
    assert message.startswith(
        "training.weights: expected full or lora, because only the skip would be trained, and it ends at"
    )
    assert "block 4, above the contrastive layer 3" in message
    validation.check(overlaid("grid: {contrastive_layer: [4], skip_target: [4]}"), SCHEMA)
    message = refusal(f"ablation: {{variants: {{full: {{{frozen}, contrastive: {{layer: 2}}}}}}}}")
    assert message.startswith("ablation.variants.full: training.weights: expected full or lora, because only the skip")


def test_frozen_base_may_have_a_skip():
    validation.check(overlaid("ablation: {variants: {skip_only: {training: {weights: frozen}}}}"), SCHEMA)


def test_published_recipes_have_their_settings():
    config = overlaid((ROOT / "configs/recipes.yaml").read_text(encoding="utf-8"))
    config["model"]["scratch"]["layers"] = 24
    validation.check(config, SCHEMA)
    settings = {name: runs.with_layers(runs.variant_settings(config, name), 24, CHOSEN) for name in RECIPES}
    afp, middle, triplet = (settings[name]["contrastive"] for name in ("afp", "mid_align", "published_triplet"))
    assert (afp["layer"], afp["pooling"], afp["temperature"]) == (1, "last", 0.05)
    assert (middle["layer"], middle["pooling"], middle["temperature"]) == (12, "mean", 0.1)
    assert settings["mid_align"]["lora"]["rank"] == 8
    assert (triplet["loss"], triplet["margin"], triplet["weight"]) == ("triplet", 0.1, 0.01)
    assert runs.used_layers(settings["published"]) == {"contrastive_layer": 2, "skip_source": 2, "skip_target": 19}


RECIPES = ("published", "published_triplet", "afp", "mid_align")
CHOSEN = {"contrastive_layer": 1, "skip_source": 1, "skip_target": 4}


def test_comet_without_its_environment_cannot_select():
    evaluation = {"selection_metric": "comet"}
    validation.check_selection(evaluation, has_comet=True)
    validation.check_selection({"selection_metric": "bleu"}, has_comet=False)
    with pytest.raises(InputError, match=r"expected a metric that can run, found comet .*; build it with `make comet`"):
        validation.check_selection(evaluation, has_comet=False)


def test_processes_must_not_exceed_the_devices():
    config = overlaid("ablation: {variants: {wide: {training: {processes: 3}}}}")
    for devices in ([], ["0", "1", "5"]):
        validation.check_devices(config, devices)
    validation.check_devices(overlaid(), ["2"])
    with pytest.raises(InputError, match=r"expected at most the 2 devices of this machine, found 3; lower it"):
        validation.check_devices(config, ["0", "1"])


@pytest.mark.parametrize(
    "words",
    [
        ["--configfile", "a.yaml", "b.yaml", "--config", "seed=1", "x=2"],
        ["--configfile=a.yaml", "-C", "text=--configfile"],
        ["--cores", "2"],
    ],
)
def test_options_given_once_are_accepted(words):
    validation.check_command(["snakemake", *words])


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--configfile", "a.yaml", "--cores", "2", "--configfile", "b.yaml"], "--configfile"),
        (["--configfiles=a.yaml", "--configfile=b.yaml"], "--configfile"),
        (["--config", "a=1", "-C", "b=2"], "--config"),
    ],
)
def test_option_given_twice_is_refused(words, option):
    with pytest.raises(InputError, match=f"^{option}: expected the option once.*found it 2 times"):
        validation.check_command(["snakemake", *words])


@pytest.mark.parametrize("name", ["{pair}", "a{b", "}"])
def test_workflow_in_a_folder_with_braces_is_refused(name):
    with pytest.raises(InputError, match="expected a folder of the workflow without braces"):
        validation.check_paths(f"/home/{name}", "/usr/bin/python")


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", 'a"b', "50%", "a;b"])
def test_cluster_needs_plain_paths(name, tmp_path, monkeypatch):
    validation.check_paths(f"/home/{name}", f"/home/{name}/python")
    validation.check_paths("/home/größe_1.2", "/usr/bin/python", on_cluster=True)
    with pytest.raises(InputError, match="for jobs on a cluster, found"):
        validation.check_paths("/home/me", f"/home/{name}/python", on_cluster=True)
    with pytest.raises(InputError, match="for jobs on a cluster, found"):
        validation.check_paths(f"/home/{name}", "/usr/bin/python", on_cluster=True)
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(InputError, match="for jobs on a cluster, found"):
        validation.check_paths("/home/me", "/usr/bin/python", on_cluster=True)
