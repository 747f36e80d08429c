"""The schema, the default configuration and the overlays agree; errors name key, expectation, value and remedy."""

import json
import shlex
from typing import get_type_hints

import pytest
from configurations import ROOT, SCHEMA
from configurations import merged as overlaid
from snakemake.cli import parse_config
from snakemake.utils import update_config

from skipclm import cli
from skipclm.config import runs, schema, validation
from skipclm.errors import InputError

OVERLAYS = sorted((ROOT / "configs").glob("*.yaml"))


def refusal(overlay):
    with pytest.raises(InputError) as caught:
        schema.check(overlaid(overlay), SCHEMA)
    return str(caught.value)


# Schema, default configuration and overlays


@pytest.mark.parametrize("path", [None, *OVERLAYS], ids=lambda path: path.name if path else "config.yaml")
def test_default_and_all_overlays_are_valid(path):
    config = overlaid(path.read_text(encoding="utf-8") if path else "")
    if config["model"]["source"] != "scratch":
        config["model"]["layers"] = config["model"]["layers"] or 4  # null: a model folder states its depth
    schema.check(config, SCHEMA)
    validation.check_pairs(config)
    validation.check_metrics(config["evaluation"])
    validation.check_variants(config, runs.grid_cells(config["grid"], validation.depth(config)))


def test_schema_is_valid():
    schema.VALIDATOR.check_schema(SCHEMA)


def follow(node):
    """Return a schema node merged with its $ref; its own keys take precedence."""
    return SCHEMA["$defs"][node["$ref"].rpartition("/")[2]] | node if "$ref" in node else node


def children(node, value):
    """Yield the schema node and the value of each entry of a value of the configuration."""
    if isinstance(value, list):
        return [(node["items"], entry) for entry in value]
    if "oneOf" in node:
        node = next(kind for kind in node["oneOf"] if kind["properties"]["kind"]["const"] == value["kind"])
    fixed = node.get("properties", {})
    return [(fixed[key] if key in fixed else node["additionalProperties"], entry) for key, entry in value.items()]


def leaves(node, value):
    node = follow(node)
    if isinstance(value, dict | list):
        for child, entry in children(node, value):
            yield from leaves(child, entry)
    else:
        yield node, value


def test_every_default_value_has_a_description():
    described = list(leaves(SCHEMA, overlaid()))
    assert len(described) > 90
    assert [value for node, value in described if not node.get("description") and "const" not in node] == []


def nodes(node, path="schema"):
    """Yield all schema nodes below a node, with their paths."""
    yield path, node
    for word in ("$defs", "properties"):
        for key, child in node.get(word, {}).items():
            yield from nodes(child, f"{path}.{key}")
    for word in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(word), dict):
            yield from nodes(node[word], f"{path}.{word}")
    for number, child in enumerate(node.get("oneOf", [])):
        yield from nodes(child, f"{path}.{number}")


def test_every_key_of_the_schema_has_a_description():
    inner = [(path, node) for path, node in nodes(SCHEMA) if path != "schema"]
    assert len(inner) > 100
    alternatives = [path for path, node in inner if path.rpartition(".")[2].isdigit() or "const" in node]
    bare = [path for path, node in inner if not follow(node).get("description")]
    assert [path for path in bare if path not in alternatives] == []


def test_every_object_with_fixed_keys_is_closed():
    fixed = [(path, node) for path, node in nodes(SCHEMA) if "properties" in node and "oneOf" not in node]
    assert len(fixed) > 15
    assert [path for path, node in fixed if node.get("additionalProperties") is not False] == []


def test_whole_sections_are_required_and_overrides_are_not():
    for section in ("contrastive", "skip", "training"):
        assert SCHEMA["properties"][section]["required"] == list(SCHEMA["$defs"][section]["properties"])
        assert "required" not in SCHEMA["$defs"][section]


# Unknown keys


@pytest.mark.parametrize(
    ("overlay", "where", "nearest"),
    [
        ("trainin: {steps: 3}", "the configuration: unknown key 'trainin'", "training"),
        ("skip: {sorce: 1}", "skip: unknown key 'sorce'", "source"),
        ("contrastive: {tempature: 0.1}", "contrastive: unknown key 'tempature'", "temperature"),
        ("model: {scratch: {witdh: 64}}", "model.scratch: unknown key 'witdh'", "width"),
        ("corpus: {cleaning: {max_byte: 9}}", "corpus.cleaning: unknown key 'max_byte'", "max_bytes"),
        ("corpus: {valid: {sise: 9}}", "corpus.valid: unknown key 'sise'", "size"),
        ("corpus: {sources: {demo: {sed: 2}}}", "corpus.sources.demo: unknown key 'sed'", "seed"),
        ("corpus: {sources: {a: {kind: lines, path: x, pth: y}}}", "corpus.sources.a: unknown key 'pth'", "path"),
        ("languages: {de: {code: {}}}", "languages.de: unknown key 'code'", "codes"),
        ("grid: {constraint: []}", "grid: unknown key 'constraint'", "constraints"),
        ("ablation: {variants: {full: {skp: {}}}}", "ablation.variants.full: unknown key 'skp'", "skip"),
        (
            "ablation: {variants: {full: {skip: {actvation: relu}}}}",
            "ablation.variants.full.skip: unknown key 'actvation'",
            "activation",
        ),
        ("evaluation: {beam: 4}", "evaluation: unknown key 'beam'", "beams"),
    ],
)
def test_unknown_key_is_named_with_a_similar_one(overlay, where, nearest):
    message = refusal(overlay)
    assert message.startswith(f"{where}; write {nearest!r} if that is meant, or remove it. Known keys: ")
    assert nearest in message.partition("Known keys: ")[2].split(", ")


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("grid: {banana: 1}", "grid: unknown key 'banana'; correct it, or remove it. Known keys: pairs, seeds, "),
        (
            "ablation: {variants: {full: {corpus: {seed: 2}}}}",  # a section, but not one of the method
            "ablation.variants.full: unknown key 'corpus'; correct it, or remove it. "
            "Known keys: contrastive, skip, lora, training",
        ),
        (
            "corpus: {sources: {a: {kind: lines, path: x, fields: y}}}",  # key of another kind of source
            "corpus.sources.a: unknown key 'fields'; give a source of another kind a name of its own, since sections "
            "merge, or remove it. Known keys: kind, path, codes",
        ),
    ],
)
def test_unknown_key_without_a_similar_one_is_named(overlay, message):
    assert refusal(overlay).startswith(message)


# Wrong types

NO_VALUE = "found null; give it a value, or leave the key out to keep the default"


@pytest.mark.parametrize(
    ("overlay", "parts"),
    [
        # whole numbers
        (
            "training: {steps: true}",
            ["training.steps: expected a whole number (Optimiser steps)", "found true; correct"],
        ),
        ("training: {steps: 3.5}", ["training.steps: expected a whole number", "found 3.5; correct it"]),
        (
            "training: {steps: 1.0e+3}",
            ["training.steps: expected a whole number", "found 1000.0; write it without dot and exponent"],
        ),
        ('training: {steps: "30"}', ["training.steps: expected a whole number", "found '30'; remove the quotes"]),
        ("training: {steps: many}", ["training.steps: expected a whole number", "found 'many'; correct it"]),
        ("training: {steps: null}", ["training.steps: expected a whole number", NO_VALUE]),
        ("training: {steps: [9]}", ["training.steps: expected a whole number", "found [9]; correct it"]),
        ('model: {layers: "24"}', ["model.layers: expected a whole number or null", "remove the quotes"]),
        ("model: {scratch: {heads: false}}", ["model.scratch.heads: expected a whole number", "found false"]),
        ("corpus: {valid: {size: 1.0}}", ["corpus.valid.size: expected a whole number or null", "found 1.0; write"]),
        ("ablation: {variants: {full: {training: {steps: x}}}}", ["ablation.variants.full.training.steps: expected"]),
        # numbers
        (
            "training: {learning_rate: 1e-3}",
            ["training.learning_rate: expected a number", "'1e-3'; write dot and sign"],
        ),
        (
            "training: {learning_rate: 1.5E3}",
            ["training.learning_rate: expected a number", "found '1.5E3'; write dot and sign"],
        ),
        ('training: {learning_rate: "0.1"}', ["training.learning_rate: expected a number", "found '0.1'; remove"]),
        ("training: {learning_rate: true}", ["training.learning_rate: expected a number", "found true"]),
        ("training: {learning_rate: .nan}", ["training.learning_rate: expected a finite number, found nan; correct"]),
        ("contrastive: {weight: .inf}", ["contrastive.weight: expected a finite number, found inf; correct it"]),
        ("model: {scratch: {share: {en: -.inf}}}", ["model.scratch.share.en: expected a finite number, found -inf"]),
        ("grid: {skip_source: [1, .nan]}", ["grid.skip_source: expected a finite number, found nan"]),
        # truth
        ("training: {enabled: 1}", ["training.enabled: expected true or false", "found 1; correct it"]),
        ('skip: {normalize: "yes"}', ["skip.normalize: expected true or false", "found 'yes'"]),
        ("grid: {keep_weights: null}", ["grid.keep_weights: expected true or false", NO_VALUE]),
        # text
        ("experiment: 2024", ["experiment: expected text", "found 2024; put it in quotes"]),
        ("experiment: null", ["experiment: expected text", NO_VALUE]),
        ("model: {revision: 123}", ["model.revision: expected text or null", "found 123; put it in quotes"]),
        ("model: {revision: 2024-01-01}", ["model.revision: expected text", 'found "2024-01-01"; put it in quotes']),
        ("languages: {de: {codes: {a: no}}}", ["languages.de.codes.a: expected text", "found false; put it in quotes"]),
        ("corpus: {sources: {a: {kind: tsv, path: 3}}}", ["corpus.sources.a.path: expected text", "found 3"]),
        ("grid: {constraints: [{a: 1}]}", ["grid.constraints: expected text", 'found {"a": 1}; correct it']),
        ("grid: {constraints: [null]}", ["grid.constraints: expected text", "found null; correct it"]),
        # lists
        ("pairs: en-de", ["pairs: expected a list (Language pairs, source-target), found 'en-de'; correct it"]),
        ("grid: {seeds: 1}", ["grid.seeds: expected a list", "found 1; correct it"]),
        ("grid: {skip_source: 2-5}", ["grid.skip_source: expected a list", "found '2-5'"]),
        ("grid: {constraints: null}", ["grid.constraints: expected a list", NO_VALUE]),
        ("grid: {seeds: [1, null]}", ["grid.seeds: expected a whole number", "found null; correct it"]),
        # keys with values
        ("skip: null", ["skip: expected keys with values", NO_VALUE]),
        ("skip: []", ["skip: expected keys with values", "found []; correct it"]),
        ("training: [{steps: 3}]", ["training: expected keys with values", 'found [{"steps": 3}]']),
        ("corpus: null", ["corpus: expected keys with values", NO_VALUE]),
        ("corpus: {train: null}", ["corpus.train: expected keys with values", NO_VALUE]),
        ("corpus: {sources: null}", ["corpus.sources: expected keys with values", NO_VALUE]),
        ("corpus: {sources: {a: null}}", ["corpus.sources.a: expected keys with values", "found null"]),
        ("corpus: {sources: {a: [demo]}}", ["corpus.sources.a: expected keys with values", 'found ["demo"]']),
        ("languages: [en, de]", ["languages: expected keys with values", 'found ["en", "de"]']),
        ("languages: {fr: French}", ["languages.fr: expected keys with values", "found 'French'; correct it"]),
        ("languages: {en: {codes: null}}", ["languages.en.codes: expected keys with values", NO_VALUE]),
        ("ablation: {variants: null}", ["ablation.variants: expected keys with values", NO_VALUE]),
        ("ablation: {variants: {full: [skip]}}", ["ablation.variants.full: expected keys with values or null"]),
        ("ablation: {variants: {full: {skip: null}}}", ["ablation.variants.full.skip: expected keys", "found null"]),
    ],
)
def test_wrong_type_is_named_with_the_expected_type_and_the_value(overlay, parts):
    message = refusal(overlay)
    assert message.startswith(parts[0]), message
    assert all(part in message for part in parts), message


# Wrong values


@pytest.mark.parametrize(
    ("overlay", "parts"),
    [
        ("training: {steps: 0}", ["training.steps: expected at least 1 (Optimiser steps), found 0; correct it"]),
        ("training: {batch_size: 1}", ["training.batch_size: expected at least 2", "found 1"]),
        ("training: {warmup: 1.5}", ["training.warmup: expected at most 1", "found 1.5"]),
        ("training: {learning_rate: -0.1}", ["training.learning_rate: expected at least 0", "found -0.1"]),
        ("contrastive: {temperature: 0}", ["contrastive.temperature: expected more than 0", "found 0"]),
        ("evaluation: {beams: 0}", ["evaluation.beams: expected at least 1", "found 0"]),
        ("model: {scratch: {layers: 1}}", ["model.scratch.layers: expected at least 2", "found 1"]),
        ("model: {scratch: {share: {en: 2}}}", ["model.scratch.share.en: expected at most 1", "found 2"]),
        ("corpus: {valid: {size: 0}}", ["corpus.valid.size: expected at least 1", "found 0"]),
        # seeds
        ("grid: {seeds: [1, -1]}", ["grid.seeds: expected at least 0 (A random seed), found -1; correct"]),
        ("ablation: {seeds: [-3]}", ["ablation.seeds: expected at least 0", "found -3"]),
        ("corpus: {seed: -1}", ["corpus.seed: expected at least 0", "found -1"]),
        ("model: {scratch: {seed: -1}}", ["model.scratch.seed: expected at least 0", "found -1"]),
        ("corpus: {sources: {demo: {seed: -1}}}", ["corpus.sources.demo.seed: expected at least 0", "found -1"]),
        ("grid: {seeds: [4294967296]}", ["grid.seeds: expected at most 4294967295", "found 4294967296"]),
        # lists
        ("grid: {seeds: []}", ["grid.seeds: expected at least 1 in the list", "found []"]),
        ("grid: {seeds: [1, 1]}", ["grid.seeds: expected a list without repeats", "found [1, 1]; correct it"]),
        ("ablation: {seeds: [2, 3, 2]}", ["ablation.seeds: expected a list without repeats", "found [2, 3, 2]"]),
        ("pairs: []", ["pairs: expected at least 1 in the list", "found []"]),
        ("pairs: [en-de, en-de]", ["pairs: expected a list without repeats", 'found ["en-de", "en-de"]']),
        ("grid: {pairs: [en-de, en-de]}", ["grid.pairs: expected a list without repeats"]),
        (
            "ablation: {pairs: []}",
            ["ablation.pairs: expected a list of distinct pairs; null for all, found []; correct it"],
        ),
        ("grid: {contrastive_layer: []}", ["grid.contrastive_layer: expected at least 1 in the list", "found []"]),
        ("evaluation: {metrics: []}", ["evaluation.metrics: expected at least 1 in the list"]),
        ("evaluation: {metrics: [bleu, bleu]}", ["evaluation.metrics: expected a list without repeats"]),
        # choices
        (
            "skip: {activation: geluu}",
            ["skip.activation: expected one of gelu, relu,", "'geluu'; write 'gelu' if that"],
        ),
        ("skip: {activation: null}", ["skip.activation: expected one of gelu, relu,", "found null; correct it"]),
        ("skip: {gate: open}", ["skip.gate: expected one of learned, warmup", "found 'open'; correct it"]),
        ("training: {schedule: cosin}", ["training.schedule: expected one of linear, cosine,", "write 'cosine'"]),
        ("training: {precision: fp16}", ["training.precision: expected one of fp32, bf16", "found 'fp16'"]),
        (
            "ablation: {variants: {full: {skip: {gate: worm}}}}",
            ["ablation.variants.full.skip.gate: expected one of learned, warmup"],
        ),
        # names
        ("experiment: a/b", ["experiment: expected a name for the folders", "found 'a/b'; correct it"]),
        ("experiment: ..", ["experiment: expected a name for the folders", "found '..'"]),
        ("pairs: [en_de]", ["pairs: expected two languages joined by a hyphen, such as en-de, found 'en_de'; correct"]),
        ("pairs: [en-de-tr]", ["pairs: expected two languages joined by a hyphen", "found 'en-de-tr'"]),
        ("grid: {pairs: [en de]}", ["grid.pairs: expected two languages joined by a hyphen", "found 'en de'"]),
        (
            "languages: {pt-BR: {name: Portuguese, bleu_tokenizer: 13a}}",  # pairs are split at the hyphen
            ["languages: expected names that contain only letters and underscores, found 'pt-BR'; correct it"],
        ),
        (
            "ablation: {variants: {c1-s1-t2: {}}}",  # the name of a cell
            ["ablation.variants: expected names of letters, digits and underscores, found 'c1-s1-t2'; correct it"],
        ),
        # keys
        ("languages: {no: {name: Norwegian}}", ["languages: expected keys that are text, found false", "in quotes"]),
        ("ablation: {variants: {1: {}}}", ["ablation.variants: expected keys that are text, found 1", "in quotes"]),
        (
            "languages: {fr: {name: French}}",
            ["languages.fr.bleu_tokenizer: expected a value, found no such key; add it"],
        ),
        # sources
        ("corpus: {sources: {a: {path: x}}}", ["corpus.sources.a.kind: expected a value, found no such key; add it"]),
        (
            "corpus: {sources: {a: {kind: lnes, path: x}}}",
            ["corpus.sources.a.kind: expected one of demo, tsv, lines, jsonl, hub", "'lnes'; write 'lines' if that"],
        ),
        ("corpus: {sources: {a: {kind: null}}}", ["corpus.sources.a.kind: expected one of demo", "found null"]),
        ("corpus: {sources: {a: {kind: demo, size: 9}}}", ["corpus.sources.a.seed: expected a value, found no such"]),
        ("corpus: {sources: {a: {kind: tsv}}}", ["corpus.sources.a.path: expected a value"]),
        ("corpus: {sources: {a: {kind: jsonl, path: x}}}", ["corpus.sources.a.fields: expected a value"]),
        ("corpus: {sources: {a: {kind: hub, split: x, fields: x}}}", ["corpus.sources.a.dataset: expected a value"]),
    ],
)
def test_wrong_value_is_named_with_the_expected_values(overlay, parts):
    message = refusal(overlay)
    assert message.startswith(parts[0]), message
    assert all(part in message for part in parts), message


LAYER = 'expected a block number (3), a fraction of the depth ("0.5"), or `best` (selected by the grid), found '
LAYERS = 'expected a block number (3), a range ("2-5") or a fraction of the depth ("0.5"), found '


@pytest.mark.parametrize("value", ["0", "-1", "2.0", "0.0", "1.5", "last", '"2-3"', '"-1"', "true", "null", "[1, 2]"])
def test_invalid_layer_is_refused(value):
    assert refusal(f"contrastive: {{layer: {value}}}").startswith(f"contrastive.layer: {LAYER}")
    variant = refusal(f"ablation: {{variants: {{full: {{skip: {{target: {value}}}}}}}}}")
    assert variant.startswith(f"ablation.variants.full.skip.target: {LAYER}")


@pytest.mark.parametrize("value", ["0", "2.0", "0.0", "best", '"1-"', '"0.2-0.5"', "true", "null", "[1]"])
def test_invalid_layer_of_the_grid_is_refused(value):
    for key in runs.Cell.__dataclass_fields__:
        assert refusal(f"grid: {{{key}: [1, {value}]}}").startswith(f"grid.{key}: {LAYERS}")


@pytest.mark.parametrize("value", ["1", "24", '"3"', '"0.5"', "0.5", "1.0", "best"])
def test_all_forms_of_layers_are_accepted(value):
    schema.check(overlaid(f"skip: {{source: {value}}}"), SCHEMA)
    if value != "best":
        schema.check(overlaid(f'grid: {{skip_source: [{value}, "2-5"]}}'), SCHEMA)


def test_long_value_is_shortened():
    message = refusal(f"training: {{steps: {'x' * 500}}}")
    assert len(message) < 200
    assert "xxx...; correct it" in message


def test_first_of_several_errors_is_named():
    assert refusal("{training: {stepz: 1}, corpus: {seed: x}, zebra: 1}").startswith("the configuration: unknown key")
    assert refusal("{training: {stepz: 1}, corpus: {seed: x}}").startswith("corpus.seed: ")


def test_numbers_become_floats_but_layers_stay():
    config = {
        "corpus": {"cleaning": {"max_ratio": 4, "max_bytes": 9}},
        "model": {"scratch": {"share": {"en": 1}, "steps": 3}},
        "skip": {"source": 1},
        "grid": {"skip_target": [3, 1.0], "allow_missing": 0},
        "ablation": {"variants": {"mine": {"training": {"learning_rate": 1}}, "other": None}},
    }
    schema.make_floats(config, SCHEMA)
    assert json.dumps(config) == json.dumps(
        {
            "corpus": {"cleaning": {"max_ratio": 4.0, "max_bytes": 9}},
            "model": {"scratch": {"share": {"en": 1.0}, "steps": 3}},
            "skip": {"source": 1},
            "grid": {"skip_target": [3, 1.0], "allow_missing": 0.0},
            "ablation": {"variants": {"mine": {"training": {"learning_rate": 1.0}}, "other": None}},
        }
    )


# Texts on the command line


@pytest.mark.parametrize("value", ["2024", "True", "1e5"])
def test_remedy_for_a_number_on_the_command_line_works(value):
    message = refusal(f"experiment: {parse_config([f'experiment={value}'])['experiment']}")
    remedy = shlex.split(message.partition("--config ")[2])[0].replace("...", value)
    config = overlaid()
    update_config(config, parse_config([remedy]))
    schema.check(config, SCHEMA)
    assert config["experiment"] == value


def test_remedy_for_a_number_within_a_section_has_quotes():
    assert refusal("corpus: {folder: 2024}").endswith("found 2024; put it in quotes")


# Names of files and folders


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("experiment: {}", "experiment: expected at most 100 characters (A name for the folders "),
        ("ablation: {{variants: {{{}: {{}}}}}}", "ablation.variants: expected at most 100 characters (Names of "),
        (
            "corpus: {{more_tests: {{{}: {{source: demo, size: 9}}}}}}",
            "corpus.more_tests: expected at most 100 characters (",
        ),
        ("languages: {{{}: {{name: x, bleu_tokenizer: 13a}}}}", "languages: expected at most 40 characters ("),
    ],
)
def test_name_that_is_too_long_for_a_file_is_refused(overlay, message):
    error = refusal(overlay.format("x" * 300))
    assert error.startswith(message)
    assert error.endswith("; shorten it")
    schema.check(overlaid(overlay.format("x" * 40)), SCHEMA)


# Nested values


@pytest.mark.parametrize(
    ("overlay", "key"),
    [
        ("pairs: &a [*a]", "pairs"),
        ("pairs: &a [*a, *a]", "pairs"),
        ("evaluation: {metrics: [&a {b: *a}]}", "evaluation.metrics.b"),
        ("experiment: " + "[" * 40 + "]" * 40, "experiment"),
    ],
)
def test_deeply_nested_values_are_refused(overlay, key):
    error = refusal(overlay)
    assert error.startswith(f"{key}: expected at most 32 values within each other, found more; ")
    assert error.count("\n") == 0


# The same limits as the command line


@pytest.mark.parametrize("key", ["beams", "length_ratio", "length_extra"])
def test_lengths_and_beams_have_the_limits_of_the_command_line(key):
    (limits,) = get_type_hints(cli.translate, include_extras=True)[key].__metadata__
    rules = SCHEMA["properties"]["evaluation"]["properties"][key]
    assert (rules["minimum"], rules["maximum"]) == (limits.min, limits.max)
    assert refusal(f"evaluation: {{{key}: 1.0e+308}}").startswith(f"evaluation.{key}: expected ")


# Patterns


@pytest.mark.parametrize(
    "overlay",
    [
        'experiment: "demo\\n"',
        'pairs: ["en-de\\n"]',
        'languages: {"xx\\n": {name: X, bleu_tokenizer: 13a}}',
        'ablation: {variants: {"own\\n": {}}}',
        'corpus: {more_tests: {"dev\\n": {source: demo, size: null}}}',
        'contrastive: {layer: "3\\n"}',
        'contrastive: {layer: "٣"}',
        'grid: {skip_target: ["2-3\\n"]}',
        f'evaluation: {{spbleu_sha256: "{"a" * 64}\\n"}}',
    ],
)
def test_names_do_not_end_in_a_line_break(overlay):
    assert overlay.partition(":")[0] in refusal(overlay)
