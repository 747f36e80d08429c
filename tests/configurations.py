"""Helpers that merge overlays with the default configuration and return the error of a wrong one."""

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from skipclm.config import validation
from skipclm.errors import InputError

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))

# Tests of messages expect these sizes, so that they do not depend on the default experiment.
SIZES = """
model: {scratch: {layers: 6, width: 128, heads: 4}}
training: {steps: 140}
grid: {contrastive_layer: [1, 3], skip_source: [1, 2], skip_target: [4, 5]}
"""


def merged(*overlays):
    """Return the default configuration with overlays, merged as Snakemake merges them."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for overlay in overlays:
        update_config(config, yaml.safe_load(overlay) or {})
    return config


def overlaid(overlay=""):
    """Return the default configuration with `SIZES` and an overlay."""
    return merged(SIZES, overlay)


def refusal(overlay):
    """Return the message of the error that an overlay causes."""
    with pytest.raises(InputError) as caught:
        validation.check(overlaid(overlay), SCHEMA)
    return str(caught.value)
