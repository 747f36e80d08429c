"""What the documents and environments say of the repository holds."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[1]
DOCUMENTS = [REPO / "README.md", REPO / "CHANGELOG.md", *sorted(REPO.glob("docs/**/*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_models_that_the_readme_names_are_made():
    config = yaml.safe_load((REPO / "config.yaml").read_text(encoding="utf-8"))
    named = re.findall(r"ablation/(\S+)/(\w+)/seed(\d+)/model", (REPO / "README.md").read_text(encoding="utf-8"))
    assert named
    for pair, variant, seed in named:
        assert pair in config["pairs"]
        assert variant in config["ablation"]["variants"]
        assert int(seed) in config["ablation"]["seeds"]


def test_file_map_names_every_module():
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", readme[readme.index("## The files") :]))
    names = {path.stem for path in REPO.glob("src/skipclm/*.py")} - {"__init__", "__main__"}
    assert {
        name for name in names - words if not name.startswith("demo_") and not name.endswith(("_figure", "_figures"))
    } == set()


def test_conda_environment_has_the_direct_dependencies_at_the_pinned_versions():
    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = dict(line.lower().split("==") for line in lines)
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environment = yaml.safe_load((REPO / "envs/skipclm.yaml").read_text(encoding="utf-8"))["dependencies"]
    (packages,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    names = [line.partition(">=")[0] for line in project["dependencies"]]
    wanted = [name for name in names if name != "snakemake"]  # which makes the environment
    wanted += ["tensorboard"]  # which a user may ask for
    assert packages == [f"{name}=={pinned[name]}" for name in wanted]
