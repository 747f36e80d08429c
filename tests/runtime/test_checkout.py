"""Commits and digests of checkouts that the tests make with git itself."""

import shutil
import subprocess

import pytest

from skipclm.runtime import checkout

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", folder, *IDENTITY, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(folder):
    """Commit all files of a folder in a repository of its own, and return the commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch, tmp_path):
    """Keep the repository of these tests, and the settings of the user, out of the way."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The root of a small copy of the project, whose package is asked for its version."""
    root = tmp_path / "outer/skipclm"
    package = root / "src/skipclm"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "losses.py").write_text("WEIGHT = 1\n")
    shutil.copy(checkout.__file__, package)
    (root / "Snakefile").touch()
    (root / ".gitignore").write_text("__pycache__\n")
    monkeypatch.setattr(checkout, "PACKAGE", package)
    return root


def test_the_commit_of_the_checkout(project):
    made = commit_all(project)
    assert checkout.commit() == made
    (project / "src/skipclm/__pycache__").mkdir()
    (project / "src/skipclm/__pycache__/losses.pyc").touch()
    (project / "notes.txt").touch()  # not code
    assert checkout.commit() == made


@pytest.mark.parametrize("name", ["src/skipclm/losses.py", "src/skipclm/random.py", "Snakefile", "workflow/new.smk"])
def test_changed_and_new_code_is_dirty(project, name):
    made = commit_all(project)
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("# changed\n")
    assert checkout.commit() == f"{made}-dirty"
    git(project, "config", "status.showUntrackedFiles", "no")
    assert checkout.commit() == f"{made}-dirty"


def test_a_removed_module_is_dirty(project):
    made = commit_all(project)
    (project / "src/skipclm/losses.py").unlink()
    assert checkout.commit() == f"{made}-dirty"


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_repository_around_the_project_is_not_asked(project, is_committed):
    if is_committed:
        commit_all(project.parent)
    else:
        (project.parent / ".gitignore").write_text("skipclm\n")
        commit_all(project.parent)
    assert checkout.commit() == "none (the git repository around the package is not the package's own)"


def test_a_package_installed_inside_a_checkout_has_no_commit(project, monkeypatch):
    installed = project / ".venv/lib/python3/site-packages/skipclm"
    shutil.copytree(project / "src/skipclm", installed)
    commit_all(project)
    monkeypatch.setattr(checkout, "PACKAGE", installed)
    assert checkout.commit() == "none (the git repository around the package is not the package's own)"


def test_a_repository_that_lacks_the_package_is_not_its_own(project):
    git(project, "init", "--quiet")
    expected = "none (the package is not committed in its git repository)"
    assert checkout.commit() == expected  # nothing is committed
    git(project, "add", "Snakefile")
    git(project, "commit", "--quiet", "--message", "Only this")
    assert checkout.commit() == expected


@pytest.mark.parametrize("is_repository", [False, True])
def test_variables_lead_to_no_other_repository(project, tmp_path, monkeypatch, is_repository):
    made = commit_all(project) if is_repository else "none (the package is not in a git repository)"
    other = tmp_path / "other"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(".git"))
    (other / "more").touch()
    commit_all(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(project))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert checkout.commit() == made


def test_a_linked_worktree_has_its_own_commit(project, tmp_path, monkeypatch):
    commit_all(project)
    git(project, "worktree", "add", "--quiet", tmp_path / "linked", "-b", "side")
    (tmp_path / "linked/src/skipclm/losses.py").write_text("WEIGHT = 2\n")
    git(tmp_path / "linked", "commit", "--quiet", "--all", "--message", "Side")
    monkeypatch.setattr(checkout, "PACKAGE", (tmp_path / "linked/src/skipclm").resolve())
    assert checkout.commit() == git(tmp_path / "linked", "rev-parse", "HEAD")


def test_a_link_to_the_package_leads_to_its_checkout(project, tmp_path, monkeypatch):
    made = commit_all(project)
    (tmp_path / "skipclm").symlink_to(project / "src/skipclm")
    monkeypatch.setattr(checkout, "PACKAGE", (tmp_path / "skipclm").resolve())
    assert checkout.commit() == made


def test_without_git_the_reason_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert checkout.commit() == "none (git is not installed)"


def stand_in(folder, monkeypatch, script):
    """Put a program called git first on the path."""
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("fatal: detected dubious ownership in repository at '/x'\nTo add an exception, call:", "another user owns"),
        ("fatal: bad object HEAD", "git says: fatal: bad object HEAD"),
    ],
)
def test_what_git_refuses_is_told(tmp_path, monkeypatch, message, reason):
    stand_in(tmp_path / "bin", monkeypatch, f'printf "{message}\n" >&2; exit 128')
    said = checkout.commit()
    assert said.startswith("none (")
    assert reason in said


def test_a_git_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "TIMEOUT", 0.2)
    stand_in(tmp_path / "bin", monkeypatch, "exec sleep 30")
    assert checkout.commit().startswith("none (git cannot be run: ")


def test_the_digest_is_of_every_module_and_of_nothing_else(project, tmp_path, monkeypatch):
    before = checkout.digest()
    package = project / "src/skipclm"
    (package / "notes.txt").touch()
    assert checkout.digest() == before
    shutil.copytree(package, tmp_path / "elsewhere")
    (package / "losses.py").write_text("WEIGHT = 2\n")
    edited = checkout.digest()
    (package / "inner").mkdir()
    (package / "inner/new.py").touch()
    assert len({before, edited, checkout.digest()}) == 3
    monkeypatch.setattr(checkout, "PACKAGE", tmp_path / "elsewhere")
    assert checkout.digest() == before


def test_the_version_is_that_of_the_first_call(project):
    checkout.version.cache_clear()
    before = checkout.version()
    (project / "src/skipclm/losses.py").write_text("WEIGHT = 2\n")
    assert checkout.version() == before
    checkout.version.cache_clear()
    assert checkout.version()["code"] != before["code"]
    checkout.version.cache_clear()
