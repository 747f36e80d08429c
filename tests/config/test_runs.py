"""Layers, cells and variants of an experiment, and their settings."""

import copy

import pytest

from skipclm.config import runs
from skipclm.config.runs import Cell
from skipclm.errors import InputError

CONFIG = {
    "contrastive": {"enabled": True, "layer": "best", "weight": 0.5, "loss": "info_nce"},
    "skip": {"enabled": True, "source": "best", "target": 4, "activation": "gelu"},
    "lora": {"rank": 8},
    "training": {"enabled": True, "weights": "full", "steps": 300},
    "ablation": {
        "variants": {
            "full": {},
            "contrastive_only": {"skip": {"enabled": False}},
            "fixed": {"contrastive": {"layer": "0.5"}, "skip": {"source": 1}, "training": {"steps": 7}},
            "dropped": None,
            "finetune": {"contrastive": {"enabled": False}, "skip": {"enabled": False}},
            "base": {"training": {"enabled": False}},
            "light": {"training": {"weights": "lora"}, "lora": {"rank": 2}},
            "frozen": {"training": {"weights": "frozen"}, "contrastive": {"loss": "triplet"}},
        }
    },
}
OFF = {"enabled": False}
BEST = {"contrastive_layer": 3, "skip_source": 2, "skip_target": 5, "metric": "bleu", "value": 31.4}


def grid(constraints=(), contrastive_layer=(1, 2), skip_source=(1, 2), skip_target=(3, 4)):
    return {
        "contrastive_layer": list(contrastive_layer),
        "skip_source": list(skip_source),
        "skip_target": list(skip_target),
        "constraints": list(constraints),
    }


def names(*constraints, **layers):
    return [cell.name for cell in runs.grid_cells(grid(constraints, **layers), 6)]


# Layers


@pytest.mark.parametrize(
    ("value", "depth", "layer"),
    [
        (1, 6, 1),
        (6, 6, 6),
        ("3", 6, 3),
        (0.5, 6, 3),
        ("0.5", 6, 3),
        (".5", 24, 12),
        ("0.25", 24, 6),
        (1.0, 24, 24),
        ("1.0", 6, 6),
        (1, 24, 1),  # block 1; 1.0 is the depth
        ("0.1", 24, 2),  # 2.4
        ("0.9", 24, 22),  # 21.6
        ("0.01", 6, 1),  # 0.06, but the first block is the lowest
    ],
)
def test_layer_is_a_number_or_a_fraction_of_the_depth(value, depth, layer):
    assert runs.resolve_layer(value, depth, "skip.source") == layer


@pytest.mark.parametrize("value", [0, 7, -1, "7"])
def test_layer_beyond_the_depth_is_refused(value):
    with pytest.raises(InputError, match=rf"^skip\.source: expected a block from 1 to 6.*found {value}; correct"):
        runs.resolve_layer(value, 6, "skip.source")


@pytest.mark.parametrize("value", [0.0, "0.0", 1.1, "1.05", 2.0])
def test_fraction_beyond_the_depth_is_refused(value):
    with pytest.raises(InputError, match=rf"^grid\.x: expected a fraction .* above 0 and up to 1, found {value}; "):
        runs.resolve_layer(value, 6, "grid.x")


@pytest.mark.parametrize(
    ("values", "layers"),
    [
        ([3, 1], [3, 1]),
        (["2-5"], [2, 3, 4, 5]),
        (["4-4"], [4]),
        ([2, "1-3", "0.5", 1.0, 6], [2, 1, 3, 6]),  # repeats: 2 in the range, 0.5 and 6
    ],
)
def test_ranges_and_fractions_are_expanded_in_order_without_repeats(values, layers):
    assert runs.expand_layers(values, 6, "grid.skip_source") == layers


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["5-2"], r"^grid\.skip_source: expected a rising range, found '5-2'; write 2-5$"),
        (["2-7"], r"^grid\.skip_source: expected a block from 1 to 6.*, found 7; "),
        ([1, "0-3"], r"^grid\.skip_source: expected a block from 1 to 6.*, found 0; "),
    ],
)
def test_invalid_range_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        runs.expand_layers(values, 6, "grid.skip_source")


# Cells


def test_cell_name_has_its_layers():
    assert Cell(3, 1, 18).name == "c3-s1-t18"


def test_grid_is_the_product_of_its_lists():
    assert names() == [
        *("c1-s1-t3", "c1-s1-t4", "c1-s2-t3", "c1-s2-t4"),
        *("c2-s1-t3", "c2-s1-t4", "c2-s2-t3", "c2-s2-t4"),
    ]


@pytest.mark.parametrize(
    ("constraints", "left"),
    [
        (["skip_source == contrastive_layer"], ["c1-s1-t3", "c1-s1-t4", "c2-s2-t3", "c2-s2-t4"]),
        (["skip_source != contrastive_layer"], ["c1-s2-t3", "c1-s2-t4", "c2-s1-t3", "c2-s1-t4"]),
        (["contrastive_layer < skip_source"], ["c1-s2-t3", "c1-s2-t4"]),
        (["contrastive_layer > skip_source"], ["c2-s1-t3", "c2-s1-t4"]),
        (
            ["contrastive_layer <= skip_source"],
            ["c1-s1-t3", "c1-s1-t4", "c1-s2-t3", "c1-s2-t4", "c2-s2-t3", "c2-s2-t4"],
        ),
        (["skip_target >= skip_source + 3"], ["c1-s1-t4", "c2-s1-t4"]),
        (["skip_target - 3 >= skip_source"], ["c1-s1-t4", "c2-s1-t4"]),
        (["  skip_target>=skip_source+3  "], ["c1-s1-t4", "c2-s1-t4"]),
        (["skip_target == 3"], ["c1-s1-t3", "c1-s2-t3", "c2-s1-t3", "c2-s2-t3"]),
        (["2 > contrastive_layer", "4 == skip_target + 0"], ["c1-s1-t4", "c1-s2-t4"]),
        (["skip_source == contrastive_layer", "skip_target >= skip_source + 2"], ["c1-s1-t3", "c1-s1-t4", "c2-s2-t4"]),
    ],
)
def test_constraints_remove_cells(constraints, left):
    assert names(*constraints) == left


@pytest.mark.parametrize(
    "constraint",
    [
        "",
        "skip_source",
        "skip_source = 3",
        "skip_source < ",
        "1 < skip_source < 3",
        "skip_sorce < 3",
        "skip.source < 3",
        "skip_source < -1",
        "skip_source < 0.5",
        "skip_source < best",
        "skip_source * 2 < skip_target",
        "skip_source < 3 and skip_target > 4",
        "skip_source + 1 - 1 < 3",
        "skip_target == skip_source + contrastive_layer",
        "__import__('os').getcwd() == 1",
    ],
)
def test_constraint_must_be_one_comparison(constraint):
    with pytest.raises(InputError) as caught:
        names(constraint)
    message = str(caught.value)
    assert message.startswith("grid.constraints: expected a comparison of contrastive_layer, skip_source, skip_target")
    assert f"found {constraint!r}; correct it" in message


def test_empty_grid_is_refused():
    with pytest.raises(InputError) as caught:
        names("skip_source > 2", "skip_target > 1")
    assert str(caught.value) == (
        "grid.constraints: expected constraints that leave a cell, found that skip_source > 2 and skip_target > 1 "
        "exclude all 8; drop one or widen the lists of layers"
    )


@pytest.mark.parametrize(("skip_source", "layers"), [([3], "3 and 3"), (["1-5"], "3 and 3"), ([5], "5 and 3")])
def test_skip_must_lead_upwards(skip_source, layers):
    with pytest.raises(InputError, match=rf"^grid\.skip_source: expected blocks below .*found {layers}; .*constraint"):
        names(skip_source=skip_source)


def test_constraint_can_remove_cells_with_a_downward_skip():
    left = names("skip_source < skip_target", contrastive_layer=[1], skip_source=["2-4"])
    assert left == ["c1-s2-t3", "c1-s2-t4", "c1-s3-t4"]


# Settings


def test_cell_enables_all_parts_at_its_layers():
    config = copy.deepcopy(CONFIG)
    for section in runs.METHOD_SECTIONS:
        config[section]["enabled"] = False
    assert runs.cell_settings(config, Cell(3, 1, 5)) == {
        "contrastive": {"enabled": True, "layer": 3, "weight": 0.5, "loss": "info_nce"},
        "skip": {"enabled": True, "source": 1, "target": 5, "activation": "gelu"},
        "lora": OFF,
        "training": {"enabled": True, "weights": "full", "steps": 300},
    }


def test_null_removes_a_variant():
    assert list(runs.variants(CONFIG)) == ["full", "contrastive_only", "finetune", "base", "fixed", "light", "frozen"]


@pytest.mark.parametrize(
    ("variant", "changed"),
    [
        ("full", {}),
        ("contrastive_only", {"skip": OFF}),
        (
            "fixed",
            {
                "contrastive": {"enabled": True, "layer": "0.5", "weight": 0.5, "loss": "info_nce"},
                "skip": {"enabled": True, "source": 1, "target": 4, "activation": "gelu"},
                "training": {"enabled": True, "weights": "full", "steps": 7},
            },
        ),
        ("finetune", {"contrastive": OFF, "skip": OFF}),
        ("base", {"contrastive": OFF, "skip": OFF, "training": OFF}),
        (
            "light",
            {
                "lora": {"enabled": True, "rank": 2},
                "training": {"enabled": True, "weights": "lora", "steps": 300},
            },
        ),
    ],
)
def test_variant_overrides_keys_and_drops_disabled_sections(variant, changed):
    before = copy.deepcopy(CONFIG)
    sections = {name: CONFIG[name] for name in runs.METHOD_SECTIONS} | {"lora": OFF}
    assert runs.variant_settings(CONFIG, variant) == sections | changed
    assert before == CONFIG


def test_unused_settings_are_omitted():
    config = copy.deepcopy(CONFIG)
    config["contrastive"] |= {"temperature": 0.1, "margin": 0.2}
    config["skip"] |= {"gate": "learned", "warmup_steps": 9}
    settings = runs.cell_settings(config, Cell(3, 1, 5))
    assert "margin" not in settings["contrastive"]
    assert settings["contrastive"]["temperature"] == 0.1
    assert "warmup_steps" not in settings["skip"]
    config["contrastive"]["loss"], config["skip"]["gate"] = "triplet", "warmup"
    settings = runs.cell_settings(config, Cell(3, 1, 5))
    assert "temperature" not in settings["contrastive"]
    assert (settings["contrastive"]["margin"], settings["skip"]["warmup_steps"]) == (0.2, 9)


def test_change_of_a_disabled_section_changes_no_settings():
    edited = copy.deepcopy(CONFIG)
    edited["contrastive"]["weight"] = edited["training"]["steps"] = 9
    assert runs.variant_settings(edited, "base") == runs.variant_settings(CONFIG, "base")
    assert runs.variant_settings(edited, "full") != runs.variant_settings(CONFIG, "full")


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("full", True), ("contrastive_only", True), ("fixed", False), ("finetune", False), ("base", False)],
)
def test_only_layer_best_needs_the_grid(variant, expected):
    assert runs.needs_best(runs.variant_settings(CONFIG, variant)) is expected


@pytest.mark.parametrize(
    ("variant", "best", "used"),
    [
        ("full", BEST, {"contrastive_layer": 3, "skip_source": 2, "skip_target": 4}),
        ("contrastive_only", BEST, {"contrastive_layer": 3}),
        ("fixed", None, {"contrastive_layer": 3, "skip_source": 1, "skip_target": 4}),
        ("finetune", None, {}),
        ("base", None, {}),
    ],
)
def test_layer_best_comes_from_the_grid_and_fixed_layers_stay(variant, best, used):
    settings = runs.variant_settings(CONFIG, variant)
    before = copy.deepcopy(settings)
    resolved = runs.with_layers(settings, 6, best)
    assert runs.used_layers(resolved) == used
    assert settings == before
    assert not runs.needs_best(resolved)


def test_untrained_run_uses_no_layers():
    assert runs.used_layers(None) == {}


def test_fixed_layer_beyond_the_depth_is_refused():
    with pytest.raises(InputError, match=r"^skip\.target: expected a block from 1 to 3.*found 4"):
        runs.with_layers(runs.variant_settings(CONFIG, "fixed"), 3, None)


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        ("full", "InfoNCE at 3 and skip 2 to 4"),
        ("contrastive_only", "InfoNCE at 3"),
        ("fixed", "InfoNCE at 3 and skip 1 to 4"),
        ("finetune", "plain"),
        ("base", "untrained"),
        ("light", "InfoNCE at 3 and skip 2 to 4, by LoRA"),
        ("frozen", "triplet loss at 3 and skip 2 to 4, all else frozen"),
    ],
)
def test_description_of_a_run(variant, text):
    assert runs.describe(runs.with_layers(runs.variant_settings(CONFIG, variant), 6, BEST)) == text
