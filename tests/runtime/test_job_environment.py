"""Environment variables of jobs."""

import subprocess
import sys
from pathlib import Path

import pytest

from skipclm.runtime import job_environment

ROOT = Path(__file__).parents[2]


def test_jobs_import_this_package_and_nothing_from_the_working_folder(tmp_path, monkeypatch):
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")
    for name in ("datetime", "skipclm"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the working folder')\n", encoding="utf-8")
    job_environment.set_variables(sys.executable)
    code = "import datetime, skipclm; print(skipclm.__file__)"
    for command, words in ((["-c", code], str(ROOT / "src/skipclm/__init__.py")), (["-m", "calendar", "2026"], "July")):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None)]
)
def test_spin_count_set_by_the_user_is_respected(monkeypatch, given, spins):
    environment = {"PATH": "/bin", **given}
    monkeypatch.setattr(job_environment.os, "environ", environment)
    job_environment.set_variables("/usr/bin/python3")
    assert environment.get("GOMP_SPINCOUNT") == spins
    assert environment[job_environment.PYTHON] == "/usr/bin/python3"
    assert environment["PYTHONSAFEPATH"] == "1"


def test_each_start_of_snakemake_has_its_own_record(monkeypatch, tmp_path):
    names = set()
    for _ in range(2):
        monkeypatch.setenv(job_environment.INVOCATION, "")
        job_environment.set_invocation(tmp_path)
        names.add(job_environment.os.environ[job_environment.INVOCATION])
    assert len(names) == 2
    assert {Path(name).parent for name in names} == {tmp_path / job_environment.FOLDER}
