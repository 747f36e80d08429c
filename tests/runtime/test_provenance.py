"""Records say what a number depends on; jobs import this package and nothing from where they start."""

import json
import sys
from pathlib import Path

import pytest

from skipclm.runtime import provenance

ROOT = Path(__file__).parents[2]


def test_a_record_says_what_a_number_depends_on():
    record = provenance.environment()
    assert json.loads(json.dumps(record)) == record
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["versions"]["torch"]
    assert record["finished"].endswith("+00:00")


def test_what_is_not_installed_has_no_version(monkeypatch):
    def version(name):
        if name == "skipclm":  # in an environment made by --sdm conda, the package is only on the path
            raise provenance.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", version)
    versions = provenance.environment()["versions"]
    assert (versions["skipclm"], versions["torch"]) == (None, "1.0")


def test_environment_says_what_torch_computes_with():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    assert provenance.environment()["torch"] == {"threads": 1, "accelerator": name}


def test_environment_does_not_wait_for_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert provenance.environment()["torch"] is None


def test_environment_says_which_code_it_was(monkeypatch):
    monkeypatch.setattr(provenance.checkout, "version", lambda: {"commit": "none (why)", "code": "abc"})
    record = provenance.environment()
    assert (record["commit"], record["code"]) == ("none (why)", "abc")
