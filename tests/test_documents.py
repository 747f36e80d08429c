"""Documents and environments agree with the repository."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[1]
DOCUMENTS = [REPO / "README.md", REPO / "CHANGELOG.md", *sorted(REPO.glob("docs/**/*.md"))]
GUIDES = ["clusters", "configuration", "extending", "library", "results", "resuming"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_have_a_target(document):
    links = re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not _has_target(document, link)] == []


def _has_target(document, link):
    """Return whether the file of a link exists and, if the link names a heading, that heading."""
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(document):
    """Return the anchors that GitHub generates for the headings of a page."""
    headings = re.findall(r"^#+ (.*)", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_models_named_on_the_pages_are_trained_by_default(page):
    config = yaml.safe_load((REPO / "config.yaml").read_text(encoding="utf-8"))
    named = re.findall(r"ablation/(\w+-\w+)/(\w+)/seed(\d+)/model", (REPO / page).read_text(encoding="utf-8"))
    assert named
    for pair, variant, seed in named:
        assert pair in config["pairs"]
        assert variant in config["ablation"]["variants"]
        assert int(seed) in config["ablation"]["seeds"]


def test_module_map_names_every_module():
    page = (REPO / "docs/library.md").read_text(encoding="utf-8")
    section = page[page.index("## Modules") :].split("\n## ")[0]
    named, package = set(), ""
    for line in section.splitlines():
        if line.startswith("| ") and "---" not in line:
            first, listed, _ = (cell.strip() for cell in line.strip("|").split("|"))
            package = first.strip("`") or package
            named |= {(package, name) for name in re.findall(r"`(\w+)`", listed)}
    root = REPO / "src/skipclm"
    modules = {("(top)" if path.parent == root else path.parent.name, path.stem) for path in root.glob("**/*.py")}
    assert named == {(folder, name) for folder, name in modules if name != "__init__"}


def test_imports_in_code_on_the_pages_exist():
    for page in [REPO / "README.md", *REPO.glob("docs/*.md")]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("skipclm"):
                    path = REPO / "src" / f"{node.module.replace('.', '/')}.py"
                    body = ast.parse(path.read_text(encoding="utf-8")).body
                    defined = {entry.name for entry in body if isinstance(entry, ast.FunctionDef | ast.ClassDef)}
                    assert {alias.name for alias in node.names} <= defined


def test_files_named_on_the_pages_exist():
    for page in [REPO / "README.md", *(REPO / f"docs/{name}.md" for name in GUIDES)]:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?<![\w/.])((?:src|workflow|configs|envs|profiles|tests|resources)/[\w./]+\w)", text)
        assert [name for name in named if not (REPO / name).exists()] == []


def test_readme_is_short_and_links_every_page():
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    linked = set(re.findall(r"\]\(docs/(\w+\.md)\)", readme))
    assert {path.name for path in REPO.glob("docs/*.md")} - linked == set()


@pytest.mark.parametrize("name", GUIDES)
def test_guides_are_short(name):
    assert len((REPO / f"docs/{name}.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_conda_environment_has_the_direct_dependencies_at_the_pinned_versions():
    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = dict(line.lower().split("==") for line in lines)
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environment = yaml.safe_load((REPO / "envs/skipclm.yaml").read_text(encoding="utf-8"))["dependencies"]
    (packages,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    names = [line.partition(">=")[0] for line in project["dependencies"]]
    wanted = [name for name in names if name != "snakemake"]  # it builds the environment
    wanted += ["tensorboard"]  # optional, for execution.tensorboard
    assert packages == [f"{name}=={pinned[name]}" for name in wanted]
