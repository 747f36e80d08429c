"""Records of the environment in which a result was computed."""

import json
import sys
from pathlib import Path

import pytest

from skipclm.runtime import provenance

ROOT = Path(__file__).parents[2]


def test_record_has_versions_and_time():
    record = provenance.environment()
    assert json.loads(json.dumps(record)) == record
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["versions"]["torch"]
    assert record["finished"].endswith("+00:00")


def test_missing_package_has_no_version(monkeypatch):
    def version(name):
        if name == "skipclm":  # with --sdm conda, the package is on the path but not installed
            raise provenance.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", version)
    versions = provenance.environment()["versions"]
    assert (versions["skipclm"], versions["torch"]) == (None, "1.0")


def test_environment_has_threads_and_accelerator():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    assert provenance.environment()["torch"] == {"threads": 1, "accelerator": name}


def test_environment_does_not_import_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert provenance.environment()["torch"] is None


def test_environment_has_commit_and_code(monkeypatch):
    monkeypatch.setattr(provenance.checkout, "version", lambda: {"commit": "none (why)", "code": "abc"})
    record = provenance.environment()
    assert (record["commit"], record["code"]) == ("none (why)", "abc")
