"""What made a result: the version of the code, the libraries, the machine."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from skipclm.runtime import checkout

RECORD = "skipclm.json"  # beside a model: how it was made


def environment() -> dict:
    """Return what a number depends on besides its inputs: code version, libraries, machine and time."""
    return {
        **checkout.version(),
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "torch": _torch_device(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of what computes."""
    libraries = ("skipclm", "torch", "transformers", "tokenizers", "sacrebleu", "numpy")
    return {name: _version(name) for name in libraries} | {"python": platform.python_version()}


def _torch_device() -> dict | None:
    """Return what torch computes with, which decides the last digits; None where the job has no use for torch."""
    torch = sys.modules.get("torch")  # asked, not imported: that takes seconds
    if torch is None:
        return None
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"threads": torch.get_num_threads(), "accelerator": name}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # this package need not be installed: the workflow puts it on the path
        return None
