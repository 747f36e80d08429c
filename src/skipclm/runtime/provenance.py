"""The provenance of a result: the version of the code, the libraries, the machine."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from skipclm.runtime import checkout

RECORD = "skipclm.json"  # in the folder of a model: its provenance


def environment() -> dict:
    """Return the version of the code, the libraries, the machine and the time."""
    return {
        **checkout.version(),
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "torch": _torch_device(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of the libraries that affect results."""
    libraries = ("skipclm", "torch", "transformers", "tokenizers", "sacrebleu", "numpy")
    return {name: _version(name) for name in libraries} | {"python": platform.python_version()}


def _torch_device() -> dict | None:
    """Return the threads and the accelerator of torch, which affect the last digits; None if torch is not loaded."""
    torch = sys.modules.get("torch")  # an import would take seconds
    if torch is None:
        return None
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"threads": torch.get_num_threads(), "accelerator": name}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # this package may be on the path only
        return None
