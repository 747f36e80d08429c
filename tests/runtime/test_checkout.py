"""Commits and digests of checkouts, in repositories that the tests create with git."""

import shutil
import subprocess

import pytest

from skipclm.runtime import checkout

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]


def git(folder, *arguments):
    """Run git in a folder and return its output."""
    done = subprocess.run(["git", "-C", folder, *IDENTITY, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(folder):
    """Create a repository in a folder, commit all files, and return the commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch, tmp_path):
    """Hide the repository of these tests and the git settings of the user."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The root of a small copy of the project; `checkout` reads the version of its package."""
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


def test_commit_of_the_checkout(project):
    commit = commit_all(project)
    assert checkout.commit() == commit
    (project / "src/skipclm/__pycache__").mkdir()
    (project / "src/skipclm/__pycache__/losses.pyc").touch()
    (project / "notes.txt").touch()  # not code
    assert checkout.commit() == commit


@pytest.mark.parametrize("name", ["src/skipclm/losses.py", "src/skipclm/random.py", "Snakefile", "workflow/new.smk"])
def test_changed_and_new_code_is_dirty(project, name):
    commit = commit_all(project)
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("# changed\n")
    assert checkout.commit() == f"{commit}-dirty"
    git(project, "config", "status.showUntrackedFiles", "no")
    assert checkout.commit() == f"{commit}-dirty"


def test_removed_module_is_dirty(project):
    commit = commit_all(project)
    (project / "src/skipclm/losses.py").unlink()
    assert checkout.commit() == f"{commit}-dirty"


@pytest.mark.parametrize("is_committed", [False, True])
def test_repository_around_the_project_is_ignored(project, is_committed):
    if is_committed:
        commit_all(project.parent)
    else:
        (project.parent / ".gitignore").write_text("skipclm\n")
        commit_all(project.parent)
    assert checkout.commit() == "none (the git repository around the package is not the package's own)"


def test_package_installed_inside_a_checkout_has_no_commit(project, monkeypatch):
    installed = project / ".venv/lib/python3/site-packages/skipclm"
    shutil.copytree(project / "src/skipclm", installed)
    commit_all(project)
    monkeypatch.setattr(checkout, "PACKAGE", installed)
    assert checkout.commit() == "none (the git repository around the package is not the package's own)"


def test_repository_without_the_package_is_ignored(project):
    git(project, "init", "--quiet")
    expected = "none (the package is not committed in its git repository)"
    assert checkout.commit() == expected  # nothing is committed
    git(project, "add", "Snakefile")
    git(project, "commit", "--quiet", "--message", "Only this")
    assert checkout.commit() == expected


@pytest.mark.parametrize("is_repository", [False, True])
def test_git_variables_are_ignored(project, tmp_path, monkeypatch, is_repository):
    commit = commit_all(project) if is_repository else "none (the package is not in a git repository)"
    other = tmp_path / "other"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(".git"))
    (other / "more").touch()
    commit_all(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(project))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert checkout.commit() == commit


def test_linked_worktree_has_its_own_commit(project, tmp_path, monkeypatch):
    commit_all(project)
    git(project, "worktree", "add", "--quiet", tmp_path / "linked", "-b", "side")
    (tmp_path / "linked/src/skipclm/losses.py").write_text("WEIGHT = 2\n")
    git(tmp_path / "linked", "commit", "--quiet", "--all", "--message", "Side")
    monkeypatch.setattr(checkout, "PACKAGE", (tmp_path / "linked/src/skipclm").resolve())
    assert checkout.commit() == git(tmp_path / "linked", "rev-parse", "HEAD")


def test_linked_package_has_the_commit_of_its_checkout(project, tmp_path, monkeypatch):
    commit = commit_all(project)
    (tmp_path / "skipclm").symlink_to(project / "src/skipclm")
    monkeypatch.setattr(checkout, "PACKAGE", (tmp_path / "skipclm").resolve())
    assert checkout.commit() == commit


def test_missing_git_is_the_reason(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert checkout.commit() == "none (git is not installed)"


def install_fake_git(folder, monkeypatch, script):
    """Put a shell script named git first on the path."""
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
def test_error_of_git_is_the_reason(tmp_path, monkeypatch, message, reason):
    install_fake_git(tmp_path / "bin", monkeypatch, f'printf "{message}\n" >&2; exit 128')
    answer = checkout.commit()
    assert answer.startswith("none (")
    assert reason in answer


def test_git_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "TIMEOUT", 0.2)
    install_fake_git(tmp_path / "bin", monkeypatch, "exec sleep 30")
    assert checkout.commit().startswith("none (git cannot be run: ")


def test_digest_depends_on_all_modules_and_nothing_else(project, tmp_path, monkeypatch):
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


def test_version_is_that_of_the_first_call(project):
    checkout.version.cache_clear()
    before = checkout.version()
    (project / "src/skipclm/losses.py").write_text("WEIGHT = 2\n")
    assert checkout.version() == before
    checkout.version.cache_clear()
    assert checkout.version()["code"] != before["code"]
    checkout.version.cache_clear()
