"""Jobs follow the record of the Snakemake that planned them, until another Snakemake replaces it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skipclm.errors import InputError
from skipclm.runtime import code_digest, invocation, job_environment

MAIN = "import sys; from skipclm.runtime import invocation, job_environment; job_environment.set_invocation('logs'); "
BEGIN = MAIN + "invocation.begin({'config': {'steps': 4}, 'code': {}, 'rules': 'r'}); "
BEGIN += "print(invocation.os.environ[job_environment.INVOCATION], flush=True); sys.stdin.read()"


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A function that starts a process with an invocation; it returns the process and the path of the record."""
    monkeypatch.chdir(tmp_path)
    started = []

    def begin():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen([sys.executable, "-c", BEGIN], text=True, **pipes))
        return started[-1], started[-1].stdout.readline().strip()

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def _planned_for(record, monkeypatch, rules="r"):
    monkeypatch.setenv(job_environment.INVOCATION, record)
    return invocation.read_plan(rules)


def test_job_reads_its_plan(start, monkeypatch):
    _, record = start()
    assert _planned_for(record, monkeypatch) == {"config": {"steps": 4}, "code": {}, "rules": "r"}


def test_parallel_invocations_do_not_affect_each_other(start, monkeypatch):
    records = [start()[1] for _ in range(3)]
    assert len(set(records)) == 3
    for record in records:
        assert _planned_for(record, monkeypatch)["config"] == {"steps": 4}


def test_job_of_a_killed_invocation_runs_until_the_next_one_begins(start, monkeypatch):
    running, (killed, orphan) = start()[1], start()
    killed.kill()
    killed.wait()
    assert _planned_for(orphan, monkeypatch)
    start()
    with pytest.raises(InputError, match="found none: another Snakemake was started after"):
        _planned_for(orphan, monkeypatch)
    assert _planned_for(running, monkeypatch)


def test_dry_run_replaces_no_invocation(start, monkeypatch):
    killed, record = start()
    killed.kill()
    killed.wait()
    subprocess.run([sys.executable, "-c", MAIN], check=True)
    assert _planned_for(record, monkeypatch)


def test_last_invocation_counts_on_a_disk_without_locks(start, monkeypatch):
    _, record = start()

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(invocation.locks.fcntl, "flock", refuse)
    monkeypatch.setattr(invocation, "_open_records", [])
    monkeypatch.setenv(job_environment.INVOCATION, "")  # monkeypatch restores it
    job_environment.set_invocation("logs")
    invocation.begin({"config": {}, "code": {}, "rules": "r"})
    mine = os.environ[job_environment.INVOCATION]
    assert not Path(record).exists()
    assert _planned_for(mine, monkeypatch)


def test_invocation_that_inherits_the_variable_has_its_own_record(monkeypatch):
    monkeypatch.setenv(job_environment.INVOCATION, "logs/demo/invocations/other.json")
    job_environment.set_invocation("logs/demo")
    mine = Path(os.environ[job_environment.INVOCATION])
    assert mine.parent == Path("logs/demo/invocations")
    assert mine.name != "other.json"


def test_job_without_the_variable_is_refused(monkeypatch):
    monkeypatch.delenv(job_environment.INVOCATION, raising=False)
    with pytest.raises(InputError, match="let the cluster pass environment variables"):
        invocation.read_plan("r")


def test_edited_rules_are_refused(start, monkeypatch):
    _, record = start()
    with pytest.raises(InputError, match="Snakefile and workflow/rules as they were"):
        _planned_for(record, monkeypatch, rules="s")


def test_edited_code_is_refused(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("from skipclm.runtime import tsv\n")
    digest = code_digest.code_digest(script)
    invocation.check_code(script, digest)
    script.write_text("from skipclm import errors\n")
    with pytest.raises(InputError, match=r"expected the code of train.py as it was .* edited since"):
        invocation.check_code(script, digest)
