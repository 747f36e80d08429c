"""The systems that an experiment trains: the cells of its grid, the variants of its ablation, and their settings.

The settings of a run are the sections `contrastive`, `skip`, `lora` and `training` of the configuration, with the
values for this run.
"""

import itertools
import operator
import re
from copy import deepcopy
from dataclasses import dataclass

from skipclm.errors import InputError

METHOD_SECTIONS = ("contrastive", "skip", "lora", "training")
DEFAULT_VARIANTS = ("full", "contrastive_only", "skip_only", "finetune", "base")  # variants in the order of tables
CONTEXT = 512  # positions of a model from scratch
# Settings that have an effect only with one value of another setting. A setting without effect must cause no rerun.
USED_WITH = {
    ("contrastive", "temperature"): ("loss", "info_nce"),
    ("contrastive", "margin"): ("loss", "triplet"),
    ("skip", "warmup_steps"): ("gate", "warmup"),
}
# The layers of a run: the names in the grid and in tables, with the section and key in the settings.
LAYERS = {
    "contrastive_layer": ("contrastive", "layer"),
    "skip_source": ("skip", "source"),
    "skip_target": ("skip", "target"),
}
COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
TERM = r"(contrastive_layer|skip_source|skip_target|\d+)(?:\s*([+-])\s*(\d+))?"
CONSTRAINT = re.compile(rf"\s*{TERM}\s*(==|!=|<=|>=|<|>)\s*{TERM}\s*")


@dataclass(frozen=True, order=True)
class Cell:
    """One triple of the grid: the layer of the contrastive loss, the source and the target of the skip."""

    contrastive_layer: int
    skip_source: int
    skip_target: int

    @property
    def name(self) -> str:
        """The name of the cell and of its folder, such as c3-s1-t18."""
        return f"c{self.contrastive_layer}-s{self.skip_source}-t{self.skip_target}"


def ablation_pairs(config: dict) -> list[str]:
    """Return the pairs of the ablation."""
    return config["ablation"]["pairs"] or config["pairs"]


def test_sets(config: dict) -> list[str]:
    """Return the names of the splits with reported results."""
    return ["test", *config["corpus"]["more_tests"]]


def is_cell_name(name: str) -> bool:
    """Return whether a name is that of a cell, not of a variant; names of variants have no hyphens."""
    return re.fullmatch(r"c\d+-s\d+-t\d+", name) is not None


def resolve_layer(value: int | float | str, depth: int, key: str) -> int:
    """Return the number of a block in 1 .. depth; `value` is a number or a fraction of the depth."""
    if isinstance(value, float) or (isinstance(value, str) and "." in value):
        if not 0 < float(value) <= 1:
            raise InputError(
                f"{key}: expected a fraction of the depth above 0 and up to 1, found {value}; "
                "correct it, or write a block as a whole number"
            )
        return max(1, round(float(value) * depth))
    if not 1 <= int(value) <= depth:
        raise InputError(
            f"{key}: expected a block from 1 to {depth}, the depth of the model, found {value}; correct it, or "
            'write a fraction of the depth, such as "0.5"'
        )
    return int(value)


def expand_layers(values: list, depth: int, key: str) -> list[int]:
    """Return the blocks for numbers, ranges and fractions, in order and without repeats."""
    layers = []
    for value in values:
        if isinstance(value, str) and "-" in value:
            first, last = (resolve_layer(end, depth, key) for end in value.split("-"))
            if first > last:
                raise InputError(f"{key}: expected a rising range, found {value!r}; write {last}-{first}")
            layers += range(first, last + 1)
        else:
            layers.append(resolve_layer(value, depth, key))
    return list(dict.fromkeys(layers))


def check_constraints(constraints: list[str]) -> None:
    """Raise an `InputError` for a constraint that is not a single comparison of layers."""
    for text in constraints:
        if not CONSTRAINT.fullmatch(text):
            raise InputError(
                f"grid.constraints: expected a comparison of contrastive_layer, skip_source, skip_target and numbers, "
                f"such as 'skip_target >= skip_source + 3', found {text!r}; correct it, or split it into two"
            )


def _meets(cell: Cell, constraint: str) -> bool:
    left, left_sign, left_shift, compare, right, right_sign, right_shift = CONSTRAINT.fullmatch(constraint).groups()
    return COMPARISONS[compare](_term(cell, left, left_sign, left_shift), _term(cell, right, right_sign, right_shift))


def _term(cell: Cell, name: str, sign: str | None, shift: str | None) -> int:
    value = int(name) if name.isdigit() else getattr(cell, name)
    return value + int(f"{sign or '+'}{shift or 0}")


def grid_cells(grid: dict, depth: int) -> list[Cell]:
    """Return the cells of the grid: the product of its three lists, without the cells that constraints exclude.

    Raises an `InputError` if no cell remains, or if in some cell the skip source is not below the skip target.
    """
    check_constraints(grid["constraints"])
    axes = [expand_layers(grid[key], depth, f"grid.{key}") for key in Cell.__dataclass_fields__]
    product = [Cell(*layers) for layers in itertools.product(*axes)]
    cells = [cell for cell in product if all(_meets(cell, text) for text in grid["constraints"])]
    if not cells:
        raise InputError(
            f"grid.constraints: expected constraints that leave a cell, found that {' and '.join(grid['constraints'])} "
            f"exclude all {len(product)}; drop one or widen the lists of layers"
        )
    for cell in cells:
        if cell.skip_source >= cell.skip_target:
            raise InputError(
                f"grid.skip_source: expected blocks below grid.skip_target, found {cell.skip_source} and "
                f"{cell.skip_target}; change the lists or add the constraint 'skip_source < skip_target'"
            )
    return cells


def variants(config: dict) -> dict[str, dict]:
    """Return the variants of the ablation that are not null.

    The default variants come first, independently of the order of the overlay files.
    """
    enabled = {name: override for name, override in config["ablation"]["variants"].items() if override is not None}
    return dict(
        sorted(
            enabled.items(),
            key=lambda item: DEFAULT_VARIANTS.index(item[0]) if item[0] in DEFAULT_VARIANTS else len(DEFAULT_VARIANTS),
        )
    )


def cell_settings(config: dict, cell: Cell) -> dict:
    """Return the settings of one cell."""
    layers = {
        "contrastive": {"enabled": True, "layer": cell.contrastive_layer},
        "skip": {"enabled": True, "source": cell.skip_source, "target": cell.skip_target},
        "training": {"enabled": True},
    }
    return _settings(config, layers)


def variant_settings(config: dict, variant: str) -> dict:
    """Return the settings of one variant; layers may be `best`."""
    return _settings(config, variants(config)[variant])


def trial_config(config: dict) -> dict:
    """Return the parts of a configuration that `trial_settings` and a trial of the base model depend on."""
    sections = {name: config[name] for name in METHOD_SECTIONS}
    grid = {key: config["grid"][key] for key in (*Cell.__dataclass_fields__, "constraints")}
    evaluation = {key: config["evaluation"][key] for key in ("beams", "length_ratio", "length_extra")}
    ablation = {"variants": variants(config)}
    return in_order(sections | {"grid": grid, "ablation": ablation, "evaluation": evaluation})


def trial_settings(config: dict, depth: int) -> dict[str, dict]:
    """Return the settings of the first cell of the grid and of each variant, by name, with the layers of that cell."""
    cell = grid_cells(config["grid"], depth)[0]
    settings = {cell.name: cell_settings(config, cell)}
    settings |= {name: variant_settings(config, name) for name in variants(config)}
    return {name: with_layers(run, depth, vars(cell)) for name, run in settings.items()}


def _settings(config: dict, override: dict) -> dict:
    """Merge an override into the settings. Settings without effect are removed, so that they cause no rerun."""
    merged = {name: config[name] | override.get(name, {}) for name in METHOD_SECTIONS}
    if not merged["training"]["enabled"]:
        merged["contrastive"] = merged["skip"] = {"enabled": False}
    lora = merged["training"]["enabled"] and merged["training"]["weights"] == "lora"
    merged["lora"] |= {"enabled": lora}
    for (section, key), (other, value) in USED_WITH.items():
        if merged[section].get(other) != value:
            merged[section] = {k: v for k, v in merged[section].items() if k != key}
    return {name: in_order(section) if section["enabled"] else {"enabled": False} for name, section in merged.items()}


def in_order(section: dict) -> dict:
    """Return a section with its keys in alphabetical order, at every depth.

    Snakemake compares parameters as text, and the order of keys in an overlay must cause no rerun.
    """
    return {key: in_order(value) if isinstance(value, dict) else value for key, value in sorted(section.items())}


def used_layers(settings: dict | None) -> dict[str, int | float | str]:
    """Return the layers in the settings of a run, by their names in the grid and in tables."""
    used = {name: place for name, place in LAYERS.items() if settings and settings[place[0]]["enabled"]}
    return {name: settings[section][key] for name, (section, key) in used.items()}


def needs_best(settings: dict) -> bool:
    """Return whether a layer is `best`, the choice of the grid."""
    return "best" in used_layers(settings).values()


def with_layers(settings: dict, depth: int, best: dict | None) -> dict:
    """Return the settings with each layer as a number; `best` is an entry of best.json."""
    settings = deepcopy(settings)
    for name, value in used_layers(settings).items():
        section, key = LAYERS[name]
        is_best = value == "best"
        settings[section][key] = int(best[name]) if is_best else resolve_layer(value, depth, f"{section}.{key}")
    return settings


def describe(settings: dict) -> str:
    """Return a short description of the parts of the method that a run uses."""
    parts = []
    if settings["contrastive"]["enabled"]:
        loss = {"info_nce": "InfoNCE", "triplet": "triplet loss"}[settings["contrastive"]["loss"]]
        parts.append(f"{loss} at {settings['contrastive']['layer']}")
    if settings["skip"]["enabled"]:
        parts.append(f"skip {settings['skip']['source']} to {settings['skip']['target']}")
    if not settings["training"]["enabled"]:
        return "untrained"
    weights = {"full": "", "lora": ", by LoRA", "frozen": ", all else frozen"}[settings["training"]["weights"]]
    return (" and ".join(parts) or "plain") + weights
