"""The default configuration with overlays, merged as snakemake does it, and how it is refused."""

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from skipclm.config import validation
from skipclm.errors import InputError

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))

# The messages below count on these sizes, whatever the default experiment's are.
SIZES = """
model: {scratch: {layers: 6, width: 128, heads: 4}}
training: {steps: 140}
grid: {contrastive_layer: [1, 3], skip_source: [1, 2], skip_target: [4, 5]}
"""


def merged(*overlays):
    """The default configuration with overlays, merged as snakemake does it."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for overlay in overlays:
        update_config(config, yaml.safe_load(overlay) or {})
    return config


def overlaid(overlay=""):
    """The default configuration, of six blocks, with an overlay."""
    return merged(SIZES, overlay)


def refusal(overlay):
    with pytest.raises(InputError) as caught:
        validation.check(overlaid(overlay), SCHEMA)
    return str(caught.value)
